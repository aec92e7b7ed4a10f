//! Watches: events as lines of JSON.

use std::{collections::HashMap, sync::Arc, time::Duration};

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use http::header::CONTENT_TYPE;
use jumpstarter_store::{Event, EventStream, ListOptions, Object, StoreError};
use serde_json::{Value, json};

use crate::{
    error::ApiError,
    params::Params,
    route::{Api, Target},
    unix::Stop,
};

/// Longest that one watch lasts; clients resume where they were.
const LONGEST: Duration = Duration::from_hours(1);

/// Events from a version on; without one, what there is comes first.
pub(crate) async fn watch(
    api: &Arc<Api>,
    target: &Target,
    params: Params,
    stop: Option<Stop>,
) -> Result<Response, ApiError> {
    let mut filter = Filter { target: target.clone(), params, shown: HashMap::new() };
    let (present, from) = match filter.params.version {
        Some(version) => (Vec::new(), version),
        None => {
            let options = ListOptions { label_selector: filter.params.labels.clone(), ..Default::default() };
            let namespace = target.namespace.as_deref().unwrap_or_default();
            let list = api.store.list(target.kind, namespace, options).await?;
            (list.items, list.resource_version)
        }
    };
    let present: Vec<Bytes> =
        present.into_iter().filter_map(|object| filter.show(Event::Added(object))).map(|line| line_of(&line)).collect();
    let events = match api.store.watch(&[target.kind], from).await {
        Ok(events) => events,
        // Said in the stream, as the API server does: the watch was found, its beginning was not.
        Err(error @ StoreError::Gone { .. }) => stream::once(async { Err(error) }).boxed(),
        Err(error) => return Err(error.into()),
    };
    let lasts = filter.params.timeout_seconds.map_or(LONGEST, Duration::from_secs).min(LONGEST);
    let lines = stream::iter(present).chain(lines(events, filter)).take_until(end(lasts, stop));
    let body = Body::from_stream(lines.map(Ok::<_, std::convert::Infallible>));
    Ok(([(CONTENT_TYPE, "application/json")], body).into_response())
}

/// When the time is over or the service stops.
async fn end(lasts: Duration, stop: Option<Stop>) {
    match stop {
        // Both arms keep nothing.
        Some(Stop(stop)) => drop(tokio::time::timeout(lasts, stop.cancelled()).await),
        None => tokio::time::sleep(lasts).await,
    }
}

fn lines(events: EventStream, filter: Filter) -> impl Stream<Item = Bytes> + Send {
    stream::unfold((events, filter), |(mut events, mut filter)| async move {
        loop {
            let line = match events.next().await? {
                Ok(event) => filter.show(event),
                // The last: the store's stream ends after an error.
                Err(error) => Some(json!({ "type": "ERROR", "object": ApiError::from(error).status() })),
            };
            if let Some(line) = line {
                return Some((line_of(&line), (events, filter)));
            }
        }
    })
}

fn line_of(value: &Value) -> Bytes {
    let mut line = value.to_string();
    line.push('\n');
    Bytes::from(line)
}

/// What of the events a client asked for.
struct Filter {
    target: Target,
    params: Params,
    /// Whether an object was selected when it was last seen: one that no longer is has left the client's view.
    shown: HashMap<String, bool>,
}

impl Filter {
    fn show(&mut self, event: Event) -> Option<Value> {
        let object = event.object();
        let in_scope = self.target.namespace.as_deref().is_none_or(|namespace| namespace == object.namespace())
            && self.params.fields.matches(object);
        if !in_scope {
            return None;
        }
        let Some(selector) = &self.params.labels else { return Some(line(&event)) };
        let selected = selector.matches(&object.labels());
        let uid = object.uid().to_owned();
        match event {
            Event::Added(_) => {
                self.shown.insert(uid, selected);
                selected.then(|| line(&event))
            }
            Event::Deleted(_) => {
                self.shown.remove(&uid);
                selected.then(|| line(&event))
            }
            Event::Modified(object) => match (self.shown.insert(uid, selected), selected) {
                (Some(false), true) => Some(line(&Event::Added(object))),
                (_, true) => Some(line(&Event::Modified(object))),
                (Some(false), false) => None,
                // Perhaps the client has it; one that does not has nothing to remove.
                (Some(true) | None, false) => Some(line(&Event::Deleted(object))),
            },
        }
    }
}

fn line(event: &Event) -> Value {
    let type_ = match event {
        Event::Added(_) => "ADDED",
        Event::Modified(_) => "MODIFIED",
        Event::Deleted(_) => "DELETED",
    };
    json!({ "type": type_, "object": Object::value(event.object()) })
}
