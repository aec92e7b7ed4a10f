//! Exporters: processes that come and go on one bench, honest or not.

use std::time::Duration;

use jumpstarter_config::OnFailure;
use jumpstarter_protocol::v1::{DriverInstanceReport, ExporterStatus, RegisterRequest};
use tokio::{
    task::yield_now,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    Backoff,
    lifecycle::{ExitReason, LeaseMachine, Plan as Hooks},
    link::Link,
    sessions::{Manners, Process, refused},
};
use crate::{dice::Dice, lab::Lab};

/// Limit for saying goodbye.
const GOODBYE: Duration = Duration::from_secs(10);
/// Turns of everything that is awake, after a message, among which a process is killed.
const TURNS: u64 = 20;

/// What becomes of a process.
enum Ending {
    Killed,
    Stopped,
    Left(ExitReason),
}

/// The life of one bench, until the lab closes.
pub(crate) async fn live(lab: Lab, name: String) {
    let mut dice = Dice::named(lab.plan.seed, &format!("exporter {name}"));
    let faults = lab.plan.faults.clone();
    let liar = dice.chance(faults.liars);
    let hook = |dice: &mut Dice| {
        let choice = [None, None, Some(OnFailure::Warn), Some(OnFailure::EndLease), Some(OnFailure::Exit)];
        *dice.pick(&choice)
    };
    let hooks = if faults.failed_setups > 0.0 {
        Hooks { before: hook(&mut dice), after: hook(&mut dice), one_lease_only: dice.chance(0.2), check: None }
    } else {
        Hooks::default()
    };
    let slow = dice.chance(faults.slow_reporters);
    let manners = Manners { fails: faults.failed_setups, slow, old: dice.chance(faults.old_exporters) };
    lab.note(format_args!("exporter {name}: {hooks:?} {manners:?} liar={liar}"));
    if manners.old {
        lab.check().exporter_is_old(&name);
    }
    let token = lab.token(&format!("{name}-exporter")).await;
    let mut number = 0;
    loop {
        number += 1;
        let link = Link::new(lab.network.wire(&name), "Exporter", &name, &token);
        let link = if manners.old { link } else { link.of_process(format!("{name}-{number}")) };
        let (stop, killed) = (CancellationToken::new(), CancellationToken::new());
        let ending = {
            let life = process(&lab, &name, number, link.clone(), hooks, manners, &stop);
            let fate = fate(&lab, &name, &mut dice, liar.then_some(&link), &stop, &killed);
            tokio::pin!(life, fate);
            tokio::select! {
                biased;
                () = killed.cancelled() => Ending::Killed,
                reason = &mut life => reason.map_or(Ending::Stopped, Ending::Left),
                () = &mut fate => Ending::Killed,
            }
        };
        let pause = match &ending {
            Ending::Killed => {
                lab.note(format_args!("exporter {name}: process {number} killed"));
                lab.network.cut(&name);
                dice.millis(0..=60_000)
            }
            Ending::Stopped | Ending::Left(_) => {
                let why = if let Ending::Left(reason) = &ending { format!("{reason:?}") } else { String::new() };
                lab.note(format_args!("exporter {name}: process {number} leaves {why}"));
                goodbye(&lab, &name, &link).await;
                dice.millis(0..=30_000)
            }
        };
        sleep(if lab.is_closing() { pause.min(Duration::from_secs(3)) } else { pause }).await;
    }
}

/// Registers and serves. `None` when the service does not want it.
async fn process(
    lab: &Lab,
    name: &str,
    number: u64,
    link: Link,
    hooks: Hooks,
    manners: Manners,
    stop: &CancellationToken,
) -> Option<ExitReason> {
    let mut dice = Dice::named(lab.plan.seed, &format!("register {name} {number}"));
    let mut backoff = Backoff::default();
    let report = DriverInstanceReport { uuid: format!("{name}-root"), ..DriverInstanceReport::default() };
    loop {
        let request = RegisterRequest { reports: vec![report.clone()], ..RegisterRequest::default() };
        match link.register(request).await {
            Ok(()) => break,
            Err(status) if refused(&status) => return None,
            Err(_) => sleep(backoff.next(&mut dice)).await,
        }
    }
    lab.note(format_args!("exporter {name}: process {number} registered"));
    lab.check().process_started(name, number);
    Some(Process::new(lab, name, number, link, LeaseMachine::new(hooks), manners).serve(stop).await)
}

/// What happens to a process from outside.
async fn fate(
    lab: &Lab,
    name: &str,
    dice: &mut Dice,
    liar: Option<&Link>,
    stop: &CancellationToken,
    killed: &CancellationToken,
) {
    let faults = &lab.plan.faults;
    let rates = [
        faults.cuts,
        faults.partitions,
        faults.exporter_crashes,
        faults.exporter_restarts,
        if liar.is_some() { 120 } else { 0 },
    ];
    let sum: u64 = rates.iter().sum();
    if sum == 0 {
        return std::future::pending().await;
    }
    loop {
        sleep(dice.around(Duration::from_hours(1) / u32::try_from(sum).unwrap_or(u32::MAX))).await;
        if lab.is_closing() {
            return std::future::pending().await;
        }
        let mut draw = dice.number(0..=sum - 1);
        let mut kind = 0;
        while draw >= rates[kind] {
            draw -= rates[kind];
            kind += 1;
        }
        match kind {
            0 => {
                let times = if dice.chance(0.2) { dice.number(5..=30) } else { 1 };
                lab.note(format_args!("fault: connections of {name} cut {times} times"));
                for _ in 0..times {
                    lab.network.cut(name);
                    sleep(dice.millis(100..=6_000)).await;
                }
            }
            1 => {
                let span = dice.millis(1_000..=120_000);
                lab.note(format_args!("fault: {name} cannot be reached for {span:?}"));
                lab.check().exporter_away(name, span);
                lab.network.part(name, Instant::now() + span);
            }
            2 => {
                // At any time, or just when something was said between it and the service.
                if dice.chance(0.5) {
                    let turns = dice.number(0..=TURNS);
                    _ = timeout(Duration::from_mins(1), lab.network.traffic(name)).await;
                    for _ in 0..turns {
                        yield_now().await;
                    }
                }
                return killed.cancel();
            }
            3 => stop.cancel(),
            _ => {
                if let Some(link) = liar {
                    lie(lab, name, link, dice).await;
                }
            }
        }
    }
}

/// Says something that is not so.
async fn lie(lab: &Lab, name: &str, link: &Link, dice: &mut Dice) {
    let others = lab.check().some_lease(dice);
    match dice.number(0..=3) {
        0 | 1 => {
            let said = *dice.pick(&[
                ExporterStatus::Available,
                ExporterStatus::LeaseReady,
                ExporterStatus::BeforeLeaseHook,
                ExporterStatus::AfterLeaseHook,
                ExporterStatus::BeforeLeaseHookFailed,
                ExporterStatus::Unspecified,
                ExporterStatus::Offline,
            ]);
            lab.note(format_args!("lie: {name} says {said:?}"));
            lab.check().exporter_lied(name, said);
            _ = link.report(said, "believe me", None).await;
        }
        2 => {
            if let Some(lease) = others {
                lab.note(format_args!("lie: {name} listens for {lease}"));
                if let Ok(mut stream) = link.listen(&lease).await {
                    lab.check().listened(name, &lease);
                    _ = timeout(Duration::from_secs(5), stream.message()).await;
                }
            }
        }
        _ => {
            if let Some(lease) = others {
                lab.note(format_args!("lie: {name} gives {lease} back"));
                lab.check().release_asked(&lease, name);
                _ = link.give_back(&lease).await;
            }
        }
    }
}

/// Says OFFLINE and unregisters.
async fn goodbye(lab: &Lab, name: &str, link: &Link) {
    lab.check().exporter_leaves(name);
    let bye = async {
        _ = link.report(ExporterStatus::Offline, "stopped", None).await;
        _ = link.unregister().await;
    };
    _ = timeout(GOODBYE, bye).await;
}
