package squall.oracle;

import java.math.BigInteger;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.apache.storm.tuple.Tuple;

/** Values with their Java types, as YAML and JSON: {@code {t: long, v: "-1"}}. */
final class Values {
    private Values() {}

    static List<String> strings(List<Object> names) {
        List<String> strings = new ArrayList<>();
        names.forEach(name -> strings.add((String) name));
        return strings;
    }

    /** Every map with a {@code t} in it becomes the value it describes; all else stays what YAML made of it. */
    static List<Object> typed(List<?> values) {
        List<Object> typed = new ArrayList<>();
        values.forEach(value -> typed.add(typed(value)));
        return typed;
    }

    private static Object typed(Object value) {
        if (value instanceof List) {
            return typed((List<?>) value);
        }
        if (!(value instanceof Map)) {
            return value;
        }
        Map<?, ?> map = (Map<?, ?>) value;
        if (!map.containsKey("t")) {
            Map<Object, Object> typed = new LinkedHashMap<>();
            map.forEach((k, v) -> typed.put(typed(k), typed(v)));
            return typed;
        }
        String text = String.valueOf(map.get("v"));
        switch ((String) map.get("t")) {
            case "string": return text;
            case "int": return Integer.valueOf(text);
            case "long": return Long.valueOf(text);
            case "bool": return Boolean.valueOf(text);
            case "double": return Double.valueOf(text);
            case "null": return null;
            case "bytes": return bytes((String) map.get("hex"));
            default: throw new IllegalArgumentException("unknown type in " + map);
        }
    }

    private static byte[] bytes(String hex) {
        byte[] bytes = new byte[hex.length() / 2];
        for (int i = 0; i < bytes.length; i++) {
            bytes[i] = (byte) Integer.parseInt(hex.substring(2 * i, 2 * i + 2), 16);
        }
        return bytes;
    }

    /** The other way round, for a record. A tuple, as late streams carry them, is a map as squall's late tuples are. */
    static Object described(Object value) {
        if (value == null) {
            return described("null", null);
        } else if (value instanceof Tuple) {
            Tuple tuple = (Tuple) value;
            return described(Map.of("sourceComponent", tuple.getSourceComponent(), "sourceStreamId",
                tuple.getSourceStreamId(), "sourceTask", tuple.getSourceTask(), "values", tuple.getValues()));
        } else if (value instanceof List) {
            List<Object> items = new ArrayList<>();
            ((List<?>) value).forEach(item -> items.add(described(item)));
            return described("list", items);
        } else if (value instanceof Map) {
            Map<String, Object> pairs = new TreeMap<>();
            ((Map<?, ?>) value).forEach((k, v) -> {
                List<Object> pair = List.of(described(k), described(v));
                pairs.put(pair.toString(), pair);
            });
            return described("map", new ArrayList<>(pairs.values()));
        } else if (value instanceof byte[]) {
            StringBuilder hex = new StringBuilder();
            for (byte b : (byte[]) value) {
                hex.append(String.format("%02x", b));
            }
            Map<String, Object> described = new LinkedHashMap<>();
            described.put("t", "bytes");
            described.put("hex", hex.toString());
            return described;
        }
        return described(name(value), String.valueOf(value));
    }

    private static String name(Object value) {
        if (value instanceof String) return "string";
        if (value instanceof Integer) return "int";
        if (value instanceof Long) return "long";
        if (value instanceof Short) return "short";
        if (value instanceof Byte) return "byte";
        if (value instanceof Boolean) return "bool";
        if (value instanceof Double) return "double";
        if (value instanceof Float) return "float";
        if (value instanceof BigInteger) return "bigint";
        return value.getClass().getName();
    }

    private static Map<String, Object> described(String type, Object v) {
        Map<String, Object> described = new LinkedHashMap<>();
        described.put("t", type);
        if (v != null) {
            described.put("v", v);
        }
        return described;
    }
}
