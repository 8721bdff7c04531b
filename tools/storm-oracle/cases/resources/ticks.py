import storm


class Ticks(storm.Bolt):
    def initialize(self, conf, context):
        self.told = False

    def process(self, tup):
        if tup.component == "__system":
            if not self.told:
                self.told = True
                storm.emit([tup.component, tup.stream, tup.task, tup.values], anchors=[tup])
        else:
            storm.emit([tup.component, tup.stream, tup.task, tup.values], anchors=[tup])
        storm.ack(tup)


Ticks().run()
