//! The `squall` command: the shipped topologies under one roof.

fn main() {}
