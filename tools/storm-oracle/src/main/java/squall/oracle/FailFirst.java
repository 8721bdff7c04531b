package squall.oracle;

import java.util.HashSet;
import java.util.List;
import java.util.Set;
import org.apache.storm.tuple.Tuple;

/** Fails a tuple whose first value is a multiple of n when it sees that value for the first time; else forwards it. */
public class FailFirst extends Forward {
    private final int n;
    private final Set<Object> seen = new HashSet<>();

    public FailFirst(List<Object> fields, int n) {
        super(fields);
        this.n = n;
    }

    @Override
    public void execute(Tuple input) {
        if (input.getInteger(0) % n == 0 && seen.add(input.getValue(0))) {
            out.fail(input);
        } else {
            super.execute(input);
        }
    }
}
