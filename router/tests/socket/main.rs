//! Cases of the ledger on real sockets: the gateway and the instance library in this process, with a raw
//! HTTP/2 client and scripted handlers at the two edges.

mod agent;
mod capacity;
mod drain;
mod epochs;
mod gateways;
mod heartbeat;
mod kinds;
mod register;
mod support;
