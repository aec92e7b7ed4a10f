//! What no honest peer sends: each gets a clear refusal with the right code, and leaves nothing behind.

mod identity;
mod operator;
mod requests;
mod tickets;
mod transport;

use jumpstarter_testkit::grpc::Grpc;
use tonic::{Code, Status};

/// Asserts that a call was refused with `code`, for a reason that a person understands.
#[track_caller]
fn refused<T: std::fmt::Debug>(case: &str, answer: Result<T, Status>, code: Code) -> String {
    let status = match answer {
        Ok(answer) => panic!("{case}: accepted with {answer:?}"),
        Err(status) => status,
    };
    assert_eq!(status.code(), code, "{case}: {status:?}");
    let text = status.message();
    assert!(!text.is_empty(), "{case}: refused without a word");
    // Released clients lose longer texts, and take the word for one about their token.
    assert!(text.len() < 4096, "{case}: {} bytes of text", text.len());
    assert!(!text.contains("expired") || text.contains("token is expired"), "{case}: {text}");
    text.to_owned()
}

/// Asserts that the service still serves this honest client.
#[track_caller]
fn still_serving(client: &Grpc) {
    let request = jumpstarter_protocol::client::v1::ListLeasesRequest {
        parent: format!("namespaces/{}", client.namespace),
        ..Default::default()
    };
    client.call(client.clients().list_leases(client.request(request))).unwrap();
}

/// Names of all leases, the ended ones among them.
#[track_caller]
fn leases(client: &Grpc) -> Vec<String> {
    let mut names = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = jumpstarter_protocol::client::v1::ListLeasesRequest {
            parent: format!("namespaces/{}", client.namespace),
            only_active: Some(false),
            page_token,
            ..Default::default()
        };
        let listed = client.call(client.clients().list_leases(client.request(request))).unwrap();
        names.extend(listed.leases.into_iter().map(|lease| lease.name));
        page_token = listed.next_page_token;
        if page_token.is_empty() {
            return names;
        }
    }
}
