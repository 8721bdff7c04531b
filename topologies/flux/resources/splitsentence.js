// A bolt in JavaScript, written against Storm's own storm.js: it runs here as it runs under Storm.
const storm = require('./storm');

class SplitSentenceBolt extends storm.BasicBolt {
    process(tup, done) {
        for (const word of tup.values[0].split(/\s+/).filter((word) => word.length > 0)) {
            this.emit({tuple: [word], anchorTupleId: tup.id}, () => {});
        }
        done();
    }
}

new SplitSentenceBolt().run();
