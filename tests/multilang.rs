//! Bolts and spouts in processes of their own: Storm's published clients, pystorm and streamparse, unmodified, and
//! children that do what they must not.

#[path = "multilang/clients.rs"]
mod clients;
#[path = "multilang/faults.rs"]
mod faults;
#[path = "multilang/lives.rs"]
mod lives;
#[path = "multilang/stage.rs"]
mod stage;
#[path = "multilang/tools.rs"]
mod tools;
