//! Cases of the ledger on real sockets: the gateway and the instance library in this process, with a raw
//! HTTP/2 client and scripted handlers at the two edges.

mod kinds;
mod loss;
mod support;
