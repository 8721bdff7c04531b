package squall.oracle;

import java.io.File;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.TimeUnit;
import java.util.logging.LogManager;
import org.apache.storm.Config;
import org.apache.storm.LocalCluster;
import org.apache.storm.flux.FluxBuilder;
import org.apache.storm.flux.model.ExecutionContext;
import org.apache.storm.flux.model.TopologyDef;
import org.apache.storm.flux.parser.FluxParser;
import org.apache.storm.generated.StormTopology;
import org.apache.storm.shade.org.apache.zookeeper.server.NIOServerCnxnFactory;
import org.apache.storm.shade.org.apache.zookeeper.server.ZooKeeperServer;

/** Runs Flux files on one local cluster, all at once, and writes down what their components got. */
public final class Oracle {
    /** A topology has come to rest when nothing but ticks happened for so long. */
    private static final long QUIET_NANOS = TimeUnit.SECONDS.toNanos(4);
    private static final long LIMIT_NANOS = TimeUnit.SECONDS.toNanos(120);

    private Oracle() {}

    /** The folder for the records, then Flux files. */
    public static void main(String[] args) throws Exception {
        // SnakeYAML complains there of every class that Flux reads.
        LogManager.getLogManager().reset();
        List<String> files = List.of(args).subList(1, args.length);
        Map<String, Recording> running = new LinkedHashMap<>();
        try (LocalCluster cluster = cluster(files.size())) {
            for (String file : files) {
                String name = new File(file).getName().replaceFirst("\\.yaml$", "");
                running.put(name, submit(cluster, file));
            }
            long started = System.nanoTime();
            for (Map.Entry<String, Recording> entry : running.entrySet()) {
                while (entry.getValue().quietNanos() < QUIET_NANOS) {
                    if (System.nanoTime() - started > LIMIT_NANOS) {
                        throw new IllegalStateException(entry.getKey() + " has not come to rest after two minutes");
                    }
                    Thread.sleep(50);
                }
                entry.getValue().writeTo(Path.of(args[0], entry.getKey() + ".jsonl"));
            }
        } catch (Exception e) {
            e.printStackTrace();
            System.exit(1);
        }
        // Multilang readers and timers of Storm are no daemon threads.
        System.exit(0);
    }

    /** ZooKeeper of our own, since Storm's listens on every address. */
    static LocalCluster cluster(int topologies) throws Exception {
        File folder = Files.createTempDirectory("storm-oracle").toFile();
        NIOServerCnxnFactory server = new NIOServerCnxnFactory();
        server.configure(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0), 100);
        server.startup(new ZooKeeperServer(folder, folder, 2000));
        return new LocalCluster.Builder()
            .withSupervisors(1)
            .withPortsPerSupervisor(topologies)
            .withDaemonConf(Config.STORM_ZOOKEEPER_SERVERS, List.of("127.0.0.1"))
            .withDaemonConf(Config.STORM_ZOOKEEPER_PORT, server.getLocalPort())
            .withDaemonConf(Config.TOPOLOGY_ENABLE_MESSAGE_TIMEOUTS, true)
            .withDaemonConf("nimbus.monitor.freq.secs", 1)
            .withDaemonConf("supervisor.monitor.frequency.secs", 1)
            .build();
    }

    private static Recording submit(LocalCluster cluster, String file) throws Exception {
        String filter = file.replaceFirst("\\.yaml$", ".properties");
        Properties properties =
            new File(filter).exists() ? FluxParser.parseProperties(filter, false) : new Properties();
        TopologyDef definition = FluxParser.parseFile(file, false, true, properties, true);
        Config conf = FluxBuilder.buildConfig(definition);
        conf.put(Config.TOPOLOGY_AUTO_TASK_HOOKS, List.of(Recording.Hook.class.getName()));
        if (Boolean.TRUE.equals(conf.get("oracle.direct.serializer"))) {
            conf.put(Config.TOPOLOGY_MULTILANG_SERIALIZER, DirectSerializer.class.getName());
        }
        StormTopology topology = FluxBuilder.buildTopology(new ExecutionContext(definition, conf));
        Recording recording = Recording.of(definition.getName());
        cluster.submitTopology(definition.getName(), conf, topology);
        return recording;
    }
}
