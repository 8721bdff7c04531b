package squall.oracle;

import java.util.ArrayDeque;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.apache.storm.spout.SpoutOutputCollector;
import org.apache.storm.task.TopologyContext;
import org.apache.storm.topology.OutputFieldsDeclarer;
import org.apache.storm.topology.base.BaseRichSpout;
import org.apache.storm.tuple.Fields;

/** Emits the tuples of a list, each tracked under its position; emits what fails again. See the README. */
public class ListSpout extends BaseRichSpout {
    private final List<Object> items;
    private final Map<String, List<Object>> streams = new LinkedHashMap<>();
    private SpoutOutputCollector out;
    private final ArrayDeque<Integer> failed = new ArrayDeque<>();
    private int next;
    private int acks;

    /** The fields of the default stream, and what to emit. */
    public ListSpout(List<Object> fields, List<Object> items) {
        this.items = items;
        streams.put("default", fields);
    }

    /** Declares another stream. */
    public void stream(String name, List<Object> fields) {
        streams.put(name, fields);
    }

    @Override
    public void declareOutputFields(OutputFieldsDeclarer declarer) {
        streams.forEach((name, fields) -> declarer.declareStream(name, new Fields(Values.strings(fields))));
    }

    @Override
    public void open(Map<String, Object> conf, TopologyContext context, SpoutOutputCollector collector) {
        out = collector;
    }

    @Override
    public void nextTuple() {
        Integer again = failed.poll();
        if (again != null) {
            emit(again);
        } else if (next < items.size() && acks >= awaited(items.get(next))) {
            emit(next++);
        }
    }

    @Override
    public void ack(Object id) {
        acks++;
    }

    @Override
    public void fail(Object id) {
        failed.add((Integer) id);
    }

    private static int awaited(Object item) {
        Object await = item instanceof Map ? ((Map<?, ?>) item).get("await") : null;
        return await == null ? 0 : (Integer) await;
    }

    @SuppressWarnings("unchecked")
    private void emit(int id) {
        Object item = items.get(id);
        Map<String, Object> entry = item instanceof Map ? (Map<String, Object>) item : Map.of("tuple", item);
        String stream = (String) entry.getOrDefault("stream", "default");
        List<Object> values = Values.typed((List<Object>) entry.get("tuple"));
        Integer task = (Integer) entry.get("task");
        if (task == null) {
            out.emit(stream, values, id);
        } else {
            out.emitDirect(task, stream, values, id);
        }
    }
}
