//! Cases of the ledger on real sockets: the gateway and the instance library in this process, with a raw
//! HTTP/2 client and scripted handlers at the two edges.

mod flow_bound;
mod flow_isolation;
mod flow_lockstep;
mod flow_release;
mod hostile_flood;
mod hostile_slow;
mod kinds;
mod support;
