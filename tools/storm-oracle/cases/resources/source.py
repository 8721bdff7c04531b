import storm

KINDS = [1, -1, 2147483648, -2147483649, 1.5, 1.0, 1e300, True, None, "naïve \u2028/", [1, [2]], {"k": -1}]


class Source(storm.Spout):
    def initialize(self, conf, context):
        self.next = 1
        self.again = []
        self.tasks = {}

    def nextTuple(self):
        if self.again:
            self.send(self.again.pop(0))
        elif self.next <= len(KINDS):
            self.send(self.next)
            self.next += 1
        elif self.next == len(KINDS) + 1:
            storm.emit([self.next, "untracked"])
            self.next += 1

    def send(self, n):
        id = n if n % 2 else "id %d" % n
        self.tasks[id] = storm.emit([n, KINDS[n - 1]], id=id)

    def ack(self, id):
        storm.emit([id, self.tasks[id]], stream="acks")

    def fail(self, id):
        self.again.append(id if type(id) is int else int(id[3:]))


Source().run()
