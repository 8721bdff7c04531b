# A bolt in Python, written against Storm's own storm.py: it runs here as it runs under Storm.
import storm


class SplitSentenceBolt(storm.BasicBolt):
    def process(self, tup):
        for word in tup.values[0].split():
            storm.emit([word])


SplitSentenceBolt().run()
