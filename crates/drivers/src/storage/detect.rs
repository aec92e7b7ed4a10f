//! Packed images that nobody said to be packed.
use futures::{StreamExt as _, stream};

use crate::DriverError;

use super::{Encoding, Resource, encoding};

/// How packed files begin.
const SIGNATURES: [(&[u8], Encoding); 4] = [
    (&[0x1f, 0x8b, 0x08], Encoding::Gzip),
    (&[0xfd, b'7', b'z', b'X', b'Z', 0], Encoding::Xz),
    (b"BZh", Encoding::Bz2),
    (&[0x28, 0xb5, 0x2f, 0xfd], Encoding::Zstd),
];
/// The longest of them.
const LONGEST: usize = 6;

impl Resource {
    /// The same file, unpacked if its first bytes say that it is packed.
    ///
    /// # Errors
    /// When the first bytes cannot be read.
    ///
    /// # Cancel safety
    /// Not cancel safe: the file is lost.
    pub(crate) async fn unpacked(mut self) -> Result<Self, DriverError> {
        let mut first = bytes::BytesMut::new();
        while first.len() < LONGEST
            && let Some(chunk) = self.read().await?
        {
            first.extend_from_slice(&chunk);
        }
        let found = SIGNATURES.iter().find(|(start, _)| first.starts_with(start)).map(|(_, encoding)| *encoding);
        Ok(self.map_chunks(|rest| {
            let all = stream::once(std::future::ready(Ok(first.freeze()))).chain(rest).boxed();
            match found {
                None => all,
                Some(encoding) => encoding::decode(encoding, all),
            }
        }))
    }
}
