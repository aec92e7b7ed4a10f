//! How RPC handlers reach the runtime: edits of one object, tried again on conflict, and questions to the core.

use jumpstarter_model::{Exporter, Lease, Timestamp};
use jumpstarter_scheduler::{AccountUse, Explanation, Lab, LeaseStanding, WhatIf, Why};
use jumpstarter_store::{Key, Kind, Object, StoreError};
use tokio::sync::{mpsc, oneshot};

use super::draft::Draft;
use crate::world::World;

/// Attempts of one edit against a store that keeps changing under it.
const ATTEMPTS: u8 = 8;

/// Why an edit was refused; the gRPC edge gives each its code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EditError {
    /// The object does not exist.
    #[error("{0}")]
    NotFound(String),
    /// An object of this name exists and is not the same.
    #[error("{0}")]
    AlreadyExists(String),
    /// The caller may not do this.
    #[error("{0}")]
    PermissionDenied(String),
    /// The request itself is wrong.
    #[error("{0}")]
    Invalid(String),
    /// The request is fine, the object's state is not.
    #[error("{0}")]
    FailedPrecondition(String),
    /// The caller has as much of something as it may have.
    #[error("{0}")]
    Exhausted(String),
}

/// Why a call came back without effect.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum Refusal {
    /// The edit does not apply.
    #[error(transparent)]
    Edit(#[from] EditError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The service is shutting down.
    #[error("the service is shutting down: try again in a moment")]
    Stopping,
}

/// What an edit led to.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    /// Nothing needed to be written.
    Nothing,
    /// The object as written.
    Object(Object),
}

/// An exporter after an edit, and how much of it was changed.
pub(crate) enum ExporterEdit {
    /// Only the status.
    Status(Box<Exporter>),
    /// Labels too.
    Whole(Box<Exporter>),
}

pub(crate) type LeaseEdit = Box<dyn FnMut(&Lease, &Lab, Timestamp) -> Result<Option<Lease>, EditError> + Send>;
pub(crate) type ExporterEditFn = Box<dyn FnMut(&Exporter, Timestamp) -> Result<Option<ExporterEdit>, EditError> + Send>;

pub(crate) enum Command {
    CreateLease(Box<Lease>),
    /// Changes spec and metadata, never status.
    EditLease {
        name: String,
        edit: LeaseEdit,
    },
    EditExporter {
        name: String,
        edit: ExporterEditFn,
    },
    Explain {
        leases: Vec<String>,
        reply: oneshot::Sender<Vec<Option<Explanation>>>,
    },
    Why {
        lease: String,
        what_if: WhatIf,
        reply: oneshot::Sender<Option<Why>>,
    },
    Usage {
        client: String,
        reply: oneshot::Sender<Vec<AccountUse>>,
    },
}

impl Command {
    pub(crate) fn edit_exporter(name: &str, edit: ExporterEditFn) -> Self {
        Self::EditExporter { name: name.to_owned(), edit }
    }
}

pub(crate) enum Plan {
    Write(Draft),
    Done(Answer),
    Refused(Refusal),
}

/// A command with the way back.
pub(crate) struct Envelope {
    command: Command,
    reply: Option<oneshot::Sender<Result<Answer, Refusal>>>,
    attempts: u8,
    /// Written by itself, since it failed together with what follows from it.
    alone: bool,
    internal: bool,
    answered: bool,
}

impl Envelope {
    fn new(command: Command, reply: oneshot::Sender<Result<Answer, Refusal>>) -> Self {
        Self { command, reply: Some(reply), attempts: 0, alone: false, internal: false, answered: false }
    }

    pub(crate) fn internal(command: Command) -> Self {
        Self { command, reply: None, attempts: 0, alone: false, internal: true, answered: false }
    }

    /// The object that it writes; `None` for a question.
    pub(crate) fn key(&self, namespace: &str) -> Option<Key> {
        match &self.command {
            Command::CreateLease(lease) => {
                Some(Key::new(Kind::Lease, namespace, lease.metadata.name.as_deref().unwrap_or_default()))
            }
            Command::EditLease { name, .. } => Some(Key::new(Kind::Lease, namespace, name)),
            Command::EditExporter { name, .. } => Some(Key::new(Kind::Exporter, namespace, name)),
            Command::Explain { .. } | Command::Why { .. } | Command::Usage { .. } => None,
        }
    }

    pub(crate) fn is_create(&self) -> bool {
        matches!(self.command, Command::CreateLease(_))
    }

    pub(crate) fn may_retry(&mut self) -> bool {
        self.attempts += 1;
        self.attempts < ATTEMPTS
    }

    /// Whether it is to be written without what follows from it.
    pub(crate) fn is_alone(&self) -> bool {
        self.alone
    }

    pub(crate) fn write_alone(&mut self) {
        self.alone = true;
    }

    /// Whether nobody but the runtime itself wants it.
    pub(crate) fn is_internal(&self) -> bool {
        self.internal
    }

    /// Whether nothing more is to be done for it.
    pub(crate) fn is_answered(&self) -> bool {
        self.answered
    }

    pub(crate) fn answer(&mut self, answer: Result<Answer, Refusal>) {
        self.answered = true;
        if let Some(reply) = self.reply.take() {
            // A caller that hung up no longer wants to know.
            let _ = reply.send(answer);
        }
    }

    pub(crate) fn answer_query(self, lab: &Lab, now: Timestamp) {
        // The core is ahead of what is durable: of a lease that it has just served nobody is told yet.
        let waits = |found: &Explanation| matches!(found.standing, LeaseStanding::Waiting | LeaseStanding::Scheduled);
        match self.command {
            Command::Explain { leases, reply } => {
                let _ = reply.send(leases.iter().map(|lease| lab.explain(lease, now).filter(waits)).collect());
            }
            Command::Why { lease, what_if, reply } => {
                let _ = reply.send(lab.why(&lease, &what_if, now).filter(|why| waits(&why.explanation)));
            }
            Command::Usage { client, reply } => {
                let _ = reply.send(lab.usage(&client, now));
            }
            Command::CreateLease(_) | Command::EditLease { .. } | Command::EditExporter { .. } => {}
        }
    }

    /// What to write, given the objects as they are now.
    pub(crate) fn plan(&mut self, world: &World, lab: &Lab, now: Timestamp) -> Plan {
        let planned = match &mut self.command {
            Command::CreateLease(lease) => plan_create(lease, world, lab, now),
            Command::EditLease { name, edit } => match world.lease(name) {
                None => Err(EditError::NotFound(format!("lease `{name}` does not exist"))),
                Some(lease) => edit(&lease, lab, now).map(|edited| match edited {
                    None => Plan::Done(Answer::Object(Object::from_resource(&*lease))),
                    Some(edited) => Plan::Write(Draft::Lease(Box::new(edited))),
                }),
            },
            Command::EditExporter { name, edit } => match world.exporter(name) {
                None => Err(EditError::NotFound(format!("exporter `{name}` does not exist"))),
                Some(exporter) => edit(&exporter, now).map(|edited| match edited {
                    None => Plan::Done(Answer::Object(Object::from_resource(&*exporter))),
                    Some(ExporterEdit::Status(edited)) => Plan::Write(Draft::ExporterStatus(edited)),
                    Some(ExporterEdit::Whole(edited)) => Plan::Write(Draft::Exporter(edited)),
                }),
            },
            Command::Explain { .. } | Command::Why { .. } | Command::Usage { .. } => Ok(Plan::Done(Answer::Nothing)),
        };
        planned.unwrap_or_else(|error| Plan::Refused(Refusal::Edit(error)))
    }
}

/// A create is idempotent: the same owner asking for the same again gets the lease that exists.
fn plan_create(lease: &Lease, world: &World, lab: &Lab, now: Timestamp) -> Result<Plan, EditError> {
    let name = lease.metadata.name.as_deref().unwrap_or_default();
    match world.lease(name) {
        None => {
            if let Some(limit) = lab.waiting_limit(&lease.spec.client_ref.name) {
                return Err(EditError::Exhausted(limit.message));
            }
            lab.check_times(lease, now).map_err(|clash| EditError::FailedPrecondition(clash.to_string()))?;
            Ok(Plan::Write(Draft::new_lease(lease.clone(), now)))
        }
        Some(found) if same_request(&found, lease) => Ok(Plan::Done(Answer::Object(Object::from_resource(&*found)))),
        Some(_) => Err(EditError::AlreadyExists(format!(
            "lease `{name}` already exists with another owner or content: choose another id"
        ))),
    }
}

fn same_request(found: &Lease, asked: &Lease) -> bool {
    let mut spec = found.spec.clone();
    spec.release = None;
    !found.is_ended() && found.spec.release != Some(true) && spec == asked.spec
}

/// The way to the runtime; cheap to clone.
#[derive(Clone)]
pub(crate) struct LabHandle {
    inbox: mpsc::Sender<Envelope>,
}

impl LabHandle {
    pub(crate) fn new(inbox: mpsc::Sender<Envelope>) -> Self {
        Self { inbox }
    }

    async fn ask(&self, command: Command) -> Result<Answer, Refusal> {
        let (reply, answer) = oneshot::channel();
        let envelope = Envelope::new(command, reply);
        self.inbox.send(envelope).await.map_err(|_| Refusal::Stopping)?;
        answer.await.map_err(|_| Refusal::Stopping)?
    }

    /// Stores a new lease, or answers with the same one.
    pub(crate) async fn create_lease(&self, lease: Lease) -> Result<Lease, Refusal> {
        decode(self.ask(Command::CreateLease(Box::new(lease))).await?)
    }

    /// Edits spec and metadata of a lease; the edit is called again when the lease changed meanwhile.
    pub(crate) async fn edit_lease(&self, name: &str, edit: LeaseEdit) -> Result<Lease, Refusal> {
        decode(self.ask(Command::EditLease { name: name.to_owned(), edit }).await?)
    }

    /// Edits an exporter; the edit is called again when the exporter changed meanwhile.
    pub(crate) async fn edit_exporter(&self, name: &str, edit: ExporterEditFn) -> Result<(), Refusal> {
        self.ask(Command::EditExporter { name: name.to_owned(), edit }).await.map(|_| ())
    }

    /// Where waiting leases stand; `None` for those that do not wait.
    pub(crate) async fn explain(&self, leases: Vec<String>) -> Vec<Option<Explanation>> {
        let count = leases.len();
        let (reply, answer) = oneshot::channel();
        // What could not be sent holds the way back: it must be gone before anybody waits for an answer.
        if self.inbox.send(Envelope::internal(Command::Explain { leases, reply })).await.is_err() {
            return vec![None; count];
        }
        answer.await.unwrap_or_else(|_| vec![None; count])
    }

    /// Everything about the wait of a lease; `None` when it does not wait.
    pub(crate) async fn why(&self, lease: String, what_if: WhatIf) -> Option<Why> {
        let (reply, answer) = oneshot::channel();
        self.inbox.send(Envelope::internal(Command::Why { lease, what_if, reply })).await.ok()?;
        answer.await.ok()?
    }

    /// What the accounts of a client use; `None` when the service stops.
    pub(crate) async fn usage(&self, client: String) -> Option<Vec<AccountUse>> {
        let (reply, answer) = oneshot::channel();
        self.inbox.send(Envelope::internal(Command::Usage { client, reply })).await.ok()?;
        answer.await.ok()
    }
}

fn decode(answer: Answer) -> Result<Lease, Refusal> {
    let Answer::Object(object) = answer else {
        return Err(Refusal::Stopping);
    };
    object.decode().map_err(|error| Refusal::Store(StoreError::Corrupt(error.to_string())))
}
