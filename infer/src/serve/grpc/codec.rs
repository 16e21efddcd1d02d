//! Codec of messages whose memory follows their size.

use std::marker::PhantomData;

use bytes::{Buf, Bytes};
use prost::Message;
use prost::encoding::{DecodeContext, decode_key, skip_field};
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder};
use tonic_prost::ProstEncoder;

/// Largest number of fields of a message, those in fields not counted.
///
/// An empty tensor takes 2 bytes of a message and more than 300 in memory, so their number is limited, not only the
/// size of the message.
const MOST_FIELDS: usize = 1000;

/// Protobuf codec that refuses messages of more than 1000 fields before it takes memory for them.
#[derive(Debug)]
pub struct Bounded<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for Bounded<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T: Message + Send + 'static, U: Message + Default + Send + 'static> Codec for Bounded<T, U> {
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = BoundedDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstEncoder::default()
    }

    fn decoder(&mut self) -> Self::Decoder {
        BoundedDecoder(PhantomData)
    }
}

/// Decoder of [`Bounded`].
#[derive(Debug)]
pub struct BoundedDecoder<U>(PhantomData<U>);

impl<U: Message + Default> Decoder for BoundedDecoder<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        decode(buffer.copy_to_bytes(buffer.remaining())).map(Some)
    }
}

/// Decodes a message; its tensors are slices of `bytes`.
///
/// # Errors
/// `INVALID_ARGUMENT` when the bytes are not such a message, or have too many fields.
pub fn decode<U: Message + Default>(bytes: Bytes) -> Result<U, Status> {
    let wrong = |error| Status::invalid_argument(format!("the message cannot be decoded: {error}"));
    let mut rest = bytes.clone();
    for fields in 0.. {
        if !rest.has_remaining() {
            break;
        }
        if fields == MOST_FIELDS {
            return Err(Status::invalid_argument(format!("the message has more than {MOST_FIELDS} fields")));
        }
        let (tag, kind) = decode_key(&mut rest).map_err(wrong)?;
        skip_field(kind, tag, &mut rest, DecodeContext::default()).map_err(wrong)?;
    }
    U::decode(bytes).map_err(wrong)
}
