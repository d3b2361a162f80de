//! Seeds at the network level.

use grpcrouter_sim::net::{run, run_lossy};
use grpcrouter_sim::plan::{FaultKind, Options, Plan};
use grpcrouter_sim::report::{Report, Watch};

fn plan(seed: u64) -> Plan {
    Plan::draw(seed, Options::net, None)
}

fn assert_clean(report: &Report) {
    assert!(report.is_clean(), "{report}");
}

#[test]
fn seeds_break_no_rule() {
    let mut faults: Vec<_> = (0..24)
        .map(|seed| {
            let report = run(&plan(seed), Watch::default());
            assert_clean(&report);
            report.faults
        })
        .collect();
    faults.sort_unstable();
    let median = faults[faults.len() / 2];
    assert!(median >= 20, "faults that hit something: {faults:?}");
}

#[test]
fn without_faults_every_call_ends_as_its_plan_says() {
    for seed in 100..108 {
        let plan = Plan::draw(seed, Options::net, Some(&[]));
        let report = run(&plan, Watch::default());
        assert_clean(&report);
        assert_eq!(report.faults, 0);
    }
}

#[test]
fn each_kind_of_fault_alone_breaks_no_rule() {
    for (seed, kind) in (200..).zip(FaultKind::ALL) {
        if matches!(kind, FaultKind::Hostile(_)) {
            continue;
        }
        let plan = Plan::draw(seed, Options::net, Some(&[kind]));
        let report = run(&plan, Watch::default());
        assert_clean(&report);
        assert!(report.faults > 0, "{kind} hit nothing");
    }
}

#[test]
fn a_network_that_loses_packets_breaks_no_rule() {
    for seed in 300..303 {
        assert_clean(&run_lossy(&plan(seed), Watch::default(), 5));
    }
}
