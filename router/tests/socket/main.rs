//! Cases of the ledger on real sockets: the gateway and the instance library in this process, with a raw
//! HTTP/2 client and scripted handlers at the two edges.

mod capacity;
mod drain;
mod early;
mod epochs;
mod flow_bound;
mod flow_isolation;
mod flow_lockstep;
mod flow_release;
mod gateways;
mod heartbeat;
mod ingress;
mod kinds;
mod messages;
mod metadata;
mod order;
mod register;
mod reserved;
mod status;
mod support;
