//! Bolts and spouts in processes of their own: Storm's published clients, pystorm and streamparse, unmodified, and
//! children that do what they must not.

#[path = "multilang/blame.rs"]
mod blame;
#[path = "multilang/both_ways.rs"]
mod both_ways;
#[path = "multilang/clients.rs"]
mod clients;
#[path = "multilang/ends.rs"]
mod ends;
#[path = "multilang/faults.rs"]
mod faults;
#[path = "multilang/lives.rs"]
mod lives;
mod needs;
#[path = "multilang/stage.rs"]
mod stage;
#[path = "multilang/tools.rs"]
mod tools;
#[path = "multilang/values.rs"]
mod values;
