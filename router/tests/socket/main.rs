//! Cases of the ledger on real sockets: the gateway and the instance library in this process, with a raw
//! HTTP/2 client and scripted handlers at the two edges.

mod access_log;
mod balance;
mod cancel;
mod deadlines;
mod health;
mod kinds;
mod loss;
mod ports;
mod races;
mod registry;
mod retry;
mod routing;
mod support;
