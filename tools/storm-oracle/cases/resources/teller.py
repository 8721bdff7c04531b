import storm


class Teller(storm.Bolt):
    def initialize(self, conf, context):
        self.greeting = conf["oracle.greeting"]
        self.context = context

    def process(self, tup):
        word, n = tup.values
        if n == 0:
            c = self.context
            ours = {task: component for task, component in c["task->component"].items() if component[0] != "_"}
            streams = sorted(stream for stream in c["streams"] if stream[0] != "_")
            sources = {
                source: {stream: fields for stream, fields in streams.items() if stream[0] != "_"}
                for source, streams in c["source->stream->fields"].items() if source[0] != "_"
            }
            storm.emit([c["taskid"], c["componentid"], ours, streams, sources], stream="context", anchors=[tup])
        tasks = storm.emit([self.greeting + " " + word, n], anchors=[tup])
        one = sorted(tasks)[n % 2]
        storm.emitDirect(one, [n], stream="to_one", anchors=[tup])
        storm.emit([word, sorted(tasks), one], stream="tasks", anchors=[tup])
        storm.ack(tup)


Teller().run()
