//! Cases of the ledger on real sockets: the gateway and the instance library in this process, with a raw
//! HTTP/2 client and scripted handlers at the two edges.

#![allow(
    clippy::duplicate_mod,
    reason = "`mounted` and `sharded` run the same cases on the other arms"
)]

mod access_log;
mod agent;
mod balance;
mod cancel;
mod capacity;
mod channel;
mod deadlines;
mod drain;
mod early;
mod epochs;
mod flow_bound;
mod flow_first;
mod flow_isolation;
mod flow_lockstep;
mod flow_release;
mod gateways;
mod health;
mod heartbeat;
mod hostile_flood;
mod hostile_slow;
mod ingress;
mod key_faults;
mod keys;
mod kinds;
mod loss;
mod messages;
mod metadata;
mod metrics;
mod mounted;
mod order;
mod panics;
mod ports;
mod races;
mod reflection;
mod register;
mod registry;
mod reserved;
mod retry;
mod routing;
mod serving;
mod sharded;
mod shares;
mod status;
mod support;
mod unsent;
mod waiting;
