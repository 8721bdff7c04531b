import storm


class FailFirst(storm.Bolt):
    def initialize(self, conf, context):
        self.attempts = {}

    def process(self, tup):
        n = tup.values[0]
        attempt = self.attempts[n] = self.attempts.get(n, 0) + 1
        if n % 3 == 0 and attempt == 1:
            storm.fail(tup)
        else:
            storm.emit([n, attempt], anchors=[tup])
            storm.ack(tup)


FailFirst().run()
