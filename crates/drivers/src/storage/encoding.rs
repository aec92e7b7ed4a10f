//! How a client's file is packed.
use std::{io, str::FromStr};

use async_compression::tokio::{
    bufread::{BzDecoder, GzipDecoder, XzDecoder, ZlibDecoder, ZstdDecoder},
    write::{BzEncoder, GzipEncoder, XzEncoder, ZstdEncoder},
};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use tokio::io::{AsyncBufRead, AsyncWrite};
use tokio_util::io::{ReaderStream, StreamReader};

use super::{CHUNK, Chunks};

/// A compression that client and exporter agree on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// gzip; zlib's framing is read too.
    Gzip,
    /// xz.
    Xz,
    /// bzip2.
    Bz2,
    /// Zstandard.
    Zstd,
}

impl Encoding {
    /// Every encoding.
    pub const ALL: [Self; 4] = [Self::Gzip, Self::Xz, Self::Bz2, Self::Zstd];

    /// Its name on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Xz => "xz",
            Self::Bz2 => "bz2",
            Self::Zstd => "zstd",
        }
    }
}

impl FromStr for Encoding {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|encoding| encoding.as_str() == text).ok_or_else(|| {
            let known = Self::ALL.map(Self::as_str).join(", ");
            format!("'{text}' is not a compression of this exporter; it has {known}")
        })
    }
}

/// Unpacks `chunks`. Packed bytes that end early are an error.
pub(super) fn decode(encoding: Encoding, chunks: Chunks) -> Chunks {
    // The first bytes decide between gzip and zlib; a stream that begins with empty chunks is told apart all the same.
    let unpacked = stream::once(async move {
        let mut chunks = chunks.try_filter(|chunk| std::future::ready(!chunk.is_empty())).boxed();
        let first = chunks.try_next().await?.unwrap_or_default();
        let zlib = first.first().is_some_and(|byte| byte & 0x0f == 8);
        let packed = StreamReader::new(stream::once(std::future::ready(io::Result::Ok(first))).chain(chunks));
        io::Result::Ok(unpack(encoding, zlib, packed))
    });
    unpacked.try_flatten().boxed()
}

fn unpack<R: AsyncBufRead + Send + 'static>(encoding: Encoding, zlib: bool, packed: R) -> Chunks {
    // Tools that pack in parallel write several members one after the other.
    macro_rules! chunks {
        ($decoder:ident) => {{
            let mut decoder = $decoder::new(packed);
            decoder.multiple_members(true);
            ReaderStream::with_capacity(decoder, CHUNK).boxed()
        }};
    }
    match encoding {
        Encoding::Gzip if zlib => ReaderStream::with_capacity(ZlibDecoder::new(packed), CHUNK).boxed(),
        Encoding::Gzip => chunks!(GzipDecoder),
        Encoding::Xz => chunks!(XzDecoder),
        Encoding::Bz2 => chunks!(BzDecoder),
        Encoding::Zstd => chunks!(ZstdDecoder),
    }
}

/// Packs what is written; shutting it down completes the packed file.
pub(super) fn encoder<W>(encoding: Encoding, to: W) -> Box<dyn AsyncWrite + Send + Unpin>
where
    W: AsyncWrite + Send + Unpin + 'static,
{
    match encoding {
        Encoding::Gzip => Box::new(GzipEncoder::new(to)),
        Encoding::Xz => Box::new(XzEncoder::new(to)),
        Encoding::Bz2 => Box::new(BzEncoder::new(to)),
        Encoding::Zstd => Box::new(ZstdEncoder::new(to)),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    async fn packed(encoding: Encoding, plain: &[u8]) -> Vec<u8> {
        let (there, mut here) = tokio::io::duplex(1 << 20);
        let mut encoder = encoder(encoding, there);
        encoder.write_all(plain).await.unwrap();
        encoder.shutdown().await.unwrap();
        drop(encoder);
        let mut packed = Vec::new();
        tokio::io::AsyncReadExt::read_to_end(&mut here, &mut packed).await.unwrap();
        packed
    }

    async fn unpacked(encoding: Encoding, packed: &[u8], chunk: usize) -> io::Result<Vec<u8>> {
        let chunks: Vec<_> = packed.chunks(chunk).map(|part| Ok(Bytes::copy_from_slice(part))).collect();
        let empty = stream::once(std::future::ready(Ok(Bytes::new())));
        let plain: Vec<Bytes> = decode(encoding, empty.chain(stream::iter(chunks)).boxed()).try_collect().await?;
        Ok(plain.concat())
    }

    #[tokio::test]
    async fn every_encoding_comes_back_whole_and_says_when_it_is_cut() {
        let plain: Vec<u8> = (0..100_000_u32).flat_map(|n| (n.wrapping_mul(n) / 7).to_le_bytes()).collect();
        for encoding in Encoding::ALL {
            assert_eq!(encoding.as_str().parse(), Ok(encoding));
            let packed = packed(encoding, &plain).await;
            assert!(packed.len() < plain.len(), "{encoding:?}");
            for chunk in [1, 1000, 1 << 20] {
                assert_eq!(unpacked(encoding, &packed, chunk).await.unwrap(), plain, "{encoding:?}");
            }
            let twice = [packed.clone(), packed.clone()].concat();
            assert_eq!(unpacked(encoding, &twice, 5000).await.unwrap().len(), plain.len() * 2, "{encoding:?}");
            for cut in [1, packed.len() / 2, packed.len() - 1] {
                assert!(unpacked(encoding, &packed[..cut], 5000).await.is_err(), "{encoding:?} cut at {cut}");
            }
            assert!(unpacked(encoding, b"this is not packed at all", 5).await.is_err(), "{encoding:?}");
        }
        assert!("brotli".parse::<Encoding>().unwrap_err().contains("gzip, xz, bz2, zstd"));
    }

    #[tokio::test]
    async fn zlib_is_read_where_gzip_was_said() {
        let zlib = [0x78, 0x9c, 0xcb, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x06, 0x2c, 0x02, 0x15];
        assert_eq!(unpacked(Encoding::Gzip, &zlib, 1).await.unwrap(), b"hello");
    }
}
