// Echoes every tuple and acks it, in the multilang protocol and nothing else.
const fs = require('fs');
const path = require('path');

function send(message) {
    process.stdout.write(JSON.stringify(message) + '\nend\n');
}

let text = '';
let greeted = false;

function take(message) {
    if (!greeted) {
        greeted = true;
        fs.closeSync(fs.openSync(path.join(message.pidDir, String(process.pid)), 'w'));
        send({pid: process.pid});
    } else if (message.stream === '__heartbeat') {
        send({command: 'sync'});
    } else {
        send({command: 'emit', tuple: message.tuple, anchors: [message.id], need_task_ids: false});
        send({command: 'ack', id: message.id});
    }
}

process.stdin.setEncoding('utf8');
process.stdin.on('data', (chunk) => {
    text += chunk;
    let end;
    while ((end = text.indexOf('\nend\n')) >= 0) {
        take(JSON.parse(text.slice(0, end)));
        text = text.slice(end + 5);
    }
});
