package squall.oracle;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.apache.storm.task.OutputCollector;
import org.apache.storm.task.TopologyContext;
import org.apache.storm.topology.OutputFieldsDeclarer;
import org.apache.storm.topology.base.BaseWindowedBolt;
import org.apache.storm.tuple.Fields;
import org.apache.storm.tuple.Tuple;
import org.apache.storm.tuple.Values;
import org.apache.storm.windowing.TupleWindow;

/** Emits every window as one tuple: what is in it, what is new, what has left it. */
public class WindowRecorder extends BaseWindowedBolt {
    private OutputCollector out;

    @Override
    public void declareOutputFields(OutputFieldsDeclarer declarer) {
        declarer.declare(new Fields("window", "new", "expired"));
    }

    @Override
    public void prepare(Map<String, Object> conf, TopologyContext context, OutputCollector collector) {
        out = collector;
    }

    @Override
    public void execute(TupleWindow window) {
        out.emit(new Values(values(window.get()), values(window.getNew()), values(window.getExpired())));
    }

    private static List<Object> values(List<Tuple> tuples) {
        List<Object> values = new ArrayList<>();
        tuples.forEach(tuple -> values.add(new ArrayList<>(tuple.getValues())));
        return values;
    }
}
