package squall.oracle;

import java.util.List;
import org.apache.storm.tuple.Tuple;

/** Emits every tuple again, anchored, to one task of a component: the one at its first value modulo their number. */
public class DirectEmitter extends Forward {
    private final String target;

    public DirectEmitter(List<Object> fields, String target) {
        super(fields);
        this.target = target;
    }

    @Override
    public void execute(Tuple input) {
        List<Integer> tasks = context.getComponentTasks(target);
        out.emitDirect(tasks.get(Math.floorMod(input.getInteger(0), tasks.size())), input, input.getValues());
        out.ack(input);
    }
}
