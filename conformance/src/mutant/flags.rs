//! The flags of frames, as the `.proto` numbers them.

/// RpcCall: the call begins.
pub(super) const OPEN: u32 = 1;
/// RpcCall: the request has ended.
pub(super) const HALF_CLOSE: u32 = 2;
/// RpcResponse: the initial metadata.
pub(super) const HEAD: u32 = 1;
/// RpcResponse: the call has ended.
pub(super) const COMPLETE: u32 = 2;
/// Either: the call is cut.
pub(super) const RESET: u32 = 4;
/// RpcResponse, with RESET: it was never given to a handler.
pub(super) const REFUSED: u32 = 8;
