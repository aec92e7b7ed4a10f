//! Answers in the shape that clients check.
use opendal::{Metadata, Operator, raw::PresignedRequest};
use serde_json::{Map, Value, json};

pub(super) fn metadata(metadata: &Metadata) -> Value {
    json!({
        "content_disposition": metadata.content_disposition(),
        "content_length": metadata.content_length(),
        "content_md5": metadata.content_md5(),
        "content_type": metadata.content_type(),
        "etag": metadata.etag(),
        "mode": { "entry_is_file": metadata.is_file(), "entry_is_dir": metadata.is_dir() },
    })
}

pub(super) fn presigned(request: &PresignedRequest) -> Value {
    let headers = request.header().iter();
    let headers = headers.filter_map(|(name, value)| Some((name.as_str().to_owned(), value.to_str().ok()?.into())));
    json!({
        "url": request.uri().to_string(),
        "method": request.method().as_str(),
        "headers": headers.collect::<Map<_, _>>(),
    })
}

/// Every flag that clients know; they refuse an answer that lacks one.
pub(super) fn capability(operator: &Operator) -> Value {
    let capability = operator.info().capability();
    macro_rules! flags {
        ($($name:ident)*) => {
            Value::from_iter([$((stringify!($name), Value::from(capability.$name)),)* ("blocking", Value::from(false))])
        };
    }
    flags!(
        stat stat_with_if_match stat_with_if_none_match
        read read_with_if_match read_with_if_none_match read_with_override_cache_control
        read_with_override_content_disposition read_with_override_content_type
        write write_can_multi write_can_empty write_can_append write_with_content_type
        write_with_content_disposition write_with_cache_control
        write_multi_max_size write_multi_min_size write_total_max_size
        create_dir delete copy rename
        list list_with_limit list_with_start_after list_with_recursive
        presign presign_read presign_stat presign_write
        shared
    )
}
