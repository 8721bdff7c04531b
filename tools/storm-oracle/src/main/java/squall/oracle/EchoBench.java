package squall.oracle;

import java.util.Arrays;
import java.util.Map;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.storm.Config;
import org.apache.storm.LocalCluster;
import org.apache.storm.flux.wrappers.bolts.FluxShellBolt;
import org.apache.storm.spout.SpoutOutputCollector;
import org.apache.storm.task.OutputCollector;
import org.apache.storm.task.TopologyContext;
import org.apache.storm.topology.OutputFieldsDeclarer;
import org.apache.storm.topology.TopologyBuilder;
import org.apache.storm.topology.base.BaseRichBolt;
import org.apache.storm.topology.base.BaseRichSpout;
import org.apache.storm.tuple.Fields;
import org.apache.storm.tuple.Tuple;

/** How fast a multilang child that echoes is under Storm: one tuple in flight, then many. */
public final class EchoBench {
    private static final int WARM_UP = 2_000;

    private EchoBench() {}

    /** Number of tuples to measure, then the child's command. */
    public static void main(String[] args) throws Exception {
        int tuples = Integer.parseInt(args[0]);
        String[] command = Arrays.copyOfRange(args, 1, args.length);
        try (LocalCluster cluster = Oracle.cluster(1)) {
            measure(cluster, command, 1, tuples);
            measure(cluster, command, 64, tuples);
        } catch (Exception e) {
            e.printStackTrace();
            System.exit(1);
        }
        System.exit(0);
    }

    private static void measure(LocalCluster cluster, String[] command, int inFlight, int tuples) throws Exception {
        Source.next.set(0);
        Sink.arrived.set(0);
        Sink.latencies_ns = new long[WARM_UP + tuples];
        Sink.inFlight = inFlight;
        Source.allowed.clear();
        for (int i = 0; i < inFlight; i++) {
            Source.allowed.add(true);
        }
        TopologyBuilder builder = new TopologyBuilder();
        builder.setSpout("source", new Source());
        builder.setBolt("echo", new FluxShellBolt(command, new String[] {"n", "ns"})).shuffleGrouping("source");
        builder.setBolt("sink", new Sink()).shuffleGrouping("echo");
        try (LocalCluster.LocalTopology ignored =
            cluster.submitTopology("echo" + inFlight, new Config(), builder.createTopology())) {
            if (!Sink.done.tryAcquire(2, TimeUnit.MINUTES)) {
                throw new IllegalStateException("only " + Sink.arrived + " tuples came back within two minutes");
            }
            long[] measured = Arrays.copyOfRange(Sink.latencies_ns, WARM_UP, WARM_UP + tuples);
            Arrays.sort(measured);
            double seconds = (Sink.ended_ns - Sink.started_ns) / 1e9;
            System.out.printf("{\"in_flight\":%d,\"tuples\":%d,\"p50_us\":%.1f,\"p99_us\":%.1f,\"per_s\":%.0f}%n",
                inFlight, tuples, measured[tuples / 2] / 1e3, measured[tuples * 99 / 100] / 1e3, tuples / seconds);
        }
    }

    /** Emits, tracked, whenever a tuple has come back, and waits for that without Storm's sleep of a millisecond. */
    public static final class Source extends BaseRichSpout {
        static final AtomicInteger next = new AtomicInteger();
        static final BlockingQueue<Boolean> allowed = new LinkedBlockingQueue<>();
        private transient SpoutOutputCollector out;

        @Override
        public void declareOutputFields(OutputFieldsDeclarer declarer) {
            declarer.declare(new Fields("n", "ns"));
        }

        @Override
        public void open(Map<String, Object> conf, TopologyContext context, SpoutOutputCollector collector) {
            out = collector;
        }

        @Override
        public void nextTuple() {
            try {
                if (allowed.poll(1, TimeUnit.MILLISECONDS) != null) {
                    int n = next.getAndIncrement();
                    out.emit(Arrays.<Object>asList(n, System.nanoTime()), n);
                    out.flush();
                }
            } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
            }
        }
    }

    /** Takes the time. */
    public static final class Sink extends BaseRichBolt {
        static final AtomicInteger arrived = new AtomicInteger();
        static final java.util.concurrent.Semaphore done = new java.util.concurrent.Semaphore(0);
        static volatile long[] latencies_ns;
        static volatile int inFlight;
        static volatile long started_ns;
        static volatile long ended_ns;
        private transient OutputCollector out;

        @Override
        public void declareOutputFields(OutputFieldsDeclarer declarer) {}

        @Override
        public void prepare(Map<String, Object> conf, TopologyContext context, OutputCollector collector) {
            out = collector;
        }

        @Override
        public void execute(Tuple input) {
            long now_ns = System.nanoTime();
            int n = arrived.getAndIncrement();
            if (n == WARM_UP) {
                started_ns = now_ns;
            }
            if (n < latencies_ns.length) {
                latencies_ns[n] = now_ns - input.getLong(1);
            }
            if (n == latencies_ns.length - 1) {
                ended_ns = now_ns;
                done.release();
            }
            Source.allowed.add(true);
            out.ack(input);
        }
    }
}
