package squall.oracle;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentHashMap;
import java.util.function.Consumer;
import java.util.stream.Collectors;
import net.minidev.json.JSONStyle;
import net.minidev.json.JSONValue;
import org.apache.storm.Config;
import org.apache.storm.Thrift;
import org.apache.storm.hooks.BaseTaskHook;
import org.apache.storm.hooks.info.BoltExecuteInfo;
import org.apache.storm.hooks.info.SpoutAckInfo;
import org.apache.storm.hooks.info.SpoutFailInfo;
import org.apache.storm.task.TopologyContext;
import org.apache.storm.tuple.Tuple;

/** What one topology did. Events of one task are in their order; nothing is said about the order between tasks. */
final class Recording {
    private static final JSONStyle PLAIN = new JSONStyle(JSONStyle.FLAG_PROTECT_4WEB);

    private static final Map<String, Recording> BY_TOPOLOGY = new ConcurrentHashMap<>();

    /** By sort key: all lines of a key in the order in which they happened. */
    private final TreeMap<String, List<String>> lines = new TreeMap<>();
    private boolean open = true;
    private boolean described;
    private long lastNanos;

    /** Where the hooks of a topology write. */
    static Recording of(String topology) {
        return BY_TOPOLOGY.computeIfAbsent(topology, name -> new Recording());
    }

    /** How long nothing happened but ticks; 0 before the first event. */
    synchronized long quietNanos() {
        return lastNanos == 0 ? 0 : System.nanoTime() - lastNanos;
    }

    /** Takes no more events. */
    synchronized void writeTo(Path file) throws IOException {
        open = false;
        Files.write(file, lines.values().stream().flatMap(List::stream).collect(Collectors.toList()));
    }

    private synchronized void add(String key, boolean onlyOnce, Consumer<Map<String, Object>> fill) {
        List<String> same = lines.computeIfAbsent(key, k -> new ArrayList<>());
        if (!open || onlyOnce && !same.isEmpty()) {
            return;
        }
        if (!onlyOnce) {
            lastNanos = System.nanoTime();
        }
        Map<String, Object> event = new LinkedHashMap<>();
        fill.accept(event);
        same.add(JSONValue.toJSONString(event, PLAIN));
    }

    /** Tasks and subscriptions, once. */
    private synchronized void describe(TopologyContext context) {
        if (described) {
            return;
        }
        described = true;
        new TreeMap<>(context.getTaskToComponent()).forEach((id, component) -> {
            if (id < 0) {
                return;
            }
            add(String.format("0 %06d", id), true, event -> {
                event.put("event", "task");
                event.put("id", id);
                event.put("component", component);
            });
            if (component.startsWith("__")) {
                return;
            }
            context.getSources(component).forEach((source, grouping) -> {
                String stream = source.get_streamId();
                if (stream.startsWith("__")) {
                    return;
                }
                String name = grouping.getSetField().getFieldName();
                boolean fields = Thrift.isGlobalGrouping(grouping) ? false : grouping.is_set_fields();
                add("1 " + component + " " + source.get_componentId() + " " + stream, true, event -> {
                    event.put("event", "subscription");
                    event.put("component", component);
                    event.put("source", source.get_componentId());
                    event.put("stream", stream);
                    event.put("grouping", name.equals("fields") && !fields ? "global" : name);
                    if (fields) {
                        event.put("fields", grouping.get_fields());
                    }
                });
            });
        });
    }

    private void execute(String component, int task, Tuple tuple) {
        String source = tuple.getSourceComponent();
        String stream = tuple.getSourceStreamId();
        boolean system = source.equals("__system");
        // Tuples of one task are in the order of their arrival, whatever streams they are on.
        String last = system ? stream : "";
        String key = String.format("2 %s %06d %s %06d %s", component, task, source, tuple.getSourceTask(), last);
        // How many ticks come is a matter of how long it runs.
        add(key, system, event -> {
            event.put("event", "execute");
            event.put("component", component);
            event.put("task", task);
            event.put("source", source);
            event.put("source_task", tuple.getSourceTask());
            event.put("stream", stream);
            List<Object> values = new ArrayList<>();
            tuple.getValues().forEach(value -> values.add(Values.described(value)));
            event.put("values", values);
        });
    }

    private void callback(String name, String component, int task, Object id) {
        add(String.format("3 %s %06d %s %12s", component, task, name, id), false, event -> {
            event.put("event", name);
            event.put("component", component);
            event.put("task", task);
            event.put("id", id);
        });
    }

    /** Storm makes one for every task, by the setting {@code topology.auto.task.hooks}. */
    public static final class Hook extends BaseTaskHook {
        private Recording recording;
        private String component;

        @Override
        public void prepare(Map<String, Object> conf, TopologyContext context) {
            recording = of((String) conf.get(Config.TOPOLOGY_NAME));
            component = context.getThisComponentId();
            recording.describe(context);
        }

        @Override
        public void boltExecute(BoltExecuteInfo info) {
            if (!component.startsWith("__")) {
                recording.execute(component, info.executingTaskId, info.tuple);
            }
        }

        @Override
        public void spoutAck(SpoutAckInfo info) {
            recording.callback("ack", component, info.spoutTaskId, info.messageId);
        }

        @Override
        public void spoutFail(SpoutFailInfo info) {
            recording.callback("fail", component, info.spoutTaskId, info.messageId);
        }
    }
}
