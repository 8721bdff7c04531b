package squall.oracle;

import java.util.List;
import java.util.Map;
import org.apache.storm.task.OutputCollector;
import org.apache.storm.task.TopologyContext;
import org.apache.storm.topology.OutputFieldsDeclarer;
import org.apache.storm.topology.base.BaseRichBolt;
import org.apache.storm.tuple.Fields;
import org.apache.storm.tuple.Tuple;

/** Emits the values of every tuple again, anchored, and acks it. */
public class Forward extends BaseRichBolt {
    private final List<Object> fields;
    protected OutputCollector out;
    protected TopologyContext context;

    public Forward(List<Object> fields) {
        this.fields = fields;
    }

    @Override
    public void declareOutputFields(OutputFieldsDeclarer declarer) {
        declarer.declare(new Fields(Values.strings(fields)));
    }

    @Override
    public void prepare(Map<String, Object> conf, TopologyContext context, OutputCollector collector) {
        this.context = context;
        out = collector;
    }

    @Override
    public void execute(Tuple input) {
        out.emit(input, input.getValues());
        out.ack(input);
    }
}
