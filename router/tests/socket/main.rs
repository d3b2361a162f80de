//! Cases of the ledger on real sockets: the gateway and the instance library in this process, with a raw
//! HTTP/2 client and scripted handlers at the two edges.

mod early;
mod ingress;
mod flow_bound;
mod flow_isolation;
mod flow_lockstep;
mod flow_release;
mod kinds;
mod messages;
mod metadata;
mod order;
mod reserved;
mod status;
mod capacity;
mod drain;
mod epochs;
mod gateways;
mod heartbeat;
mod kinds;
mod register;
mod support;
