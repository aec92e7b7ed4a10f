//! The two message types of the stream, which have one wire form.
use bytes::Bytes;
use jumpstarter_protocol::v1::{FrameType, StreamRequest, StreamResponse};

/// A frame in either direction.
pub trait Frame: Send + Unpin + 'static {
    /// Makes a frame.
    fn new(kind: FrameType, payload: Bytes) -> Self;
    /// Its kind, when known, and its payload.
    fn split(self) -> (Option<FrameType>, Bytes);
}

macro_rules! frame {
    ($message:ident) => {
        impl Frame for $message {
            fn new(kind: FrameType, payload: Bytes) -> Self {
                Self { payload, frame_type: kind.into() }
            }

            fn split(self) -> (Option<FrameType>, Bytes) {
                (FrameType::try_from(self.frame_type).ok(), self.payload)
            }
        }
    };
}

frame!(StreamRequest);
frame!(StreamResponse);
