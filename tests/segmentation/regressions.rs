//! The faults that random schedules found, each as a test of its own.

use std::time::Duration;

use crate::{
    cases::{Burst, Case, Exchange},
    harness::{
        host::Config,
        link::{Ends, Fate},
        topology::Topology,
    },
};

/// A case without a peculiarity, as the base for a struct update.
fn plain() -> Case {
    Case {
        topology: Topology::Routed,
        ports: 1024..=65_535,
        bursts: Vec::new(),
        ends: Ends::default(),
        fates: Vec::new(),
        has_policy: false,
        cuts: Vec::new(),
    }
}

/// An end with a small window and without TCP extensions, as the base for a struct update.
fn small() -> Config {
    Config {
        isn: 0,
        mss: 40,
        window: 30,
        has_timestamps: false,
        has_sack: false,
        ..Config::default()
    }
}

#[test]
fn a_greeting_in_two_writes_arrives() {
    let case = Case {
        cuts: vec![(vec![1], 7)],
        ..plain()
    };
    case.check().unwrap();
}

#[test]
fn a_reply_that_a_small_window_cuts_arrives() {
    let server = Config {
        has_nagle: true,
        ..small()
    };
    let case = Case {
        topology: Topology::Dnat,
        bursts: vec![
            Burst {
                exchanges: vec![Exchange::Noop, Exchange::Noop],
                is_merged: false,
            },
            Burst {
                exchanges: vec![Exchange::Noop, Exchange::Pasv(3584), Exchange::Epsv(1024)],
                is_merged: false,
            },
        ],
        ends: Ends {
            client: small(),
            server,
        },
        ..plain()
    };
    case.check().unwrap();
}

#[test]
fn a_line_is_completed_although_the_last_window_seen_was_closed() {
    let case = Case {
        topology: Topology::SnatShorter,
        bursts: vec![Burst {
            exchanges: vec![Exchange::Eprt(1024)],
            is_merged: false,
        }],
        ends: Ends {
            client: Config {
                delayed_ack: Some(Duration::from_millis(5)),
                ..small()
            },
            server: Config {
                closed_window: Some((Duration::from_millis(151), Duration::from_millis(190))),
                ..small()
            },
        },
        fates: vec![
            Fate::Pass,
            Fate::Pass,
            Fate::Delay(25),
            Fate::Duplicate(14),
            Fate::Pass,
            Fate::Duplicate(11),
            Fate::Duplicate(10),
            Fate::Pass,
            Fate::Duplicate(8),
            Fate::Duplicate(7),
            Fate::Duplicate(6),
            Fate::Pass,
            Fate::Delay(32),
        ],
        cuts: vec![
            (vec![], 0),
            (vec![712351], 9),
            (vec![], 0),
            (vec![5068863776904652402, 264759702100725770], 16),
            (vec![369994], 39),
        ],
        ..plain()
    };
    case.check().unwrap();
}

/// The receiver's window closes while one byte is held, and the packet that opens it is lost. So
/// the sender's probe, one before its next byte, must be answered.
#[test]
fn a_probe_of_a_closed_window_is_answered_while_a_single_byte_is_held() {
    let case = Case {
        ends: Ends {
            client: Config {
                delayed_ack: Some(Duration::from_millis(5)),
                ..small()
            },
            server: Config {
                closed_window: Some((Duration::from_millis(48), Duration::from_millis(90))),
                ..small()
            },
        },
        fates: [
            vec![Fate::Pass, Fate::Delay(3), Fate::Pass, Fate::Pass],
            vec![Fate::Pass, Fate::Split(1), Fate::Split(6)],
            vec![Fate::Pass; 3],
            vec![Fate::Duplicate(41)],
            vec![Fate::Pass; 6],
            vec![Fate::Duplicate(8), Fate::Split(1)],
            vec![Fate::Pass; 8],
            vec![Fate::Delay(24), Fate::Pass, Fate::Drop],
        ]
        .concat(),
        cuts: vec![
            (vec![9199799483573340643], 7),
            (vec![12474039561], 20),
            (vec![], 0),
            (vec![5386523237728997404], 8),
        ],
        ..plain()
    };
    case.check().unwrap();
}

#[test]
#[expect(clippy::too_many_lines, reason = "the schedule as it was found")]
fn bytes_that_were_held_in_their_turn_are_retransmitted_later() {
    let millis = Duration::from_millis;
    let config = Config {
        has_sack: true,
        has_nagle: true,
        ..small()
    };
    let case = Case {
        topology: Topology::Routed,
        bursts: vec![Burst {
            exchanges: vec![Exchange::PortMalformed, Exchange::Pasv(1124)],
            is_merged: false,
        }],
        ends: Ends {
            client: Config {
                delayed_ack: Some(millis(200)),
                ..config.clone()
            },
            server: Config {
                recuts: [16, 10].into(),
                keep_alive: Some(millis(59)),
                ..config
            },
        },
        fates: vec![
            Fate::Pass,
            Fate::Pass,
            Fate::Delay(1),
            Fate::Pass,
            Fate::Delay(1),
            Fate::Pass,
            Fate::Pass,
            Fate::Pass,
            Fate::Pass,
            Fate::Pass,
            Fate::Pass,
            Fate::Pass,
            Fate::Pass,
            Fate::Delay(1),
            Fate::Pass,
            Fate::Duplicate(0),
            Fate::Delay(1),
            Fate::Pass,
            Fate::Pass,
            Fate::Delay(1),
            Fate::Pass,
            Fate::Split(2),
            Fate::Pass,
            Fate::Pass,
            Fate::Duplicate(6),
            Fate::Pass,
            Fate::Drop,
            Fate::Pass,
            Fate::Duplicate(0),
            Fate::Pass,
            Fate::Pass,
            Fate::Pass,
            Fate::Pass,
            Fate::Pass,
            Fate::Pass,
            Fate::Pass,
            Fate::Pass,
            Fate::Drop,
            Fate::Pass,
            Fate::Split(8),
            Fate::Pass,
            Fate::Pass,
            Fate::Pass,
            Fate::Delay(1),
            Fate::Split(1),
            Fate::Pass,
            Fate::Pass,
            Fate::Delay(1),
            Fate::Duplicate(10),
            Fate::Pass,
            Fate::Duplicate(0),
            Fate::Pass,
            Fate::Pass,
            Fate::Pass,
            Fate::Delay(36),
            Fate::Pass,
            Fate::Duplicate(0),
            Fate::Pass,
            Fate::Pass,
            Fate::Split(4),
            Fate::Pass,
            Fate::Pass,
            Fate::Pass,
            Fate::Pass,
            Fate::Split(1),
            Fate::Split(1),
            Fate::Pass,
            Fate::Pass,
            Fate::Split(1),
            Fate::Drop,
            Fate::Drop,
            Fate::Delay(1),
            Fate::Pass,
            Fate::Pass,
            Fate::Delay(1),
            Fate::Pass,
            Fate::Drop,
            Fate::Delay(1),
            Fate::Pass,
            Fate::Duplicate(0),
            Fate::Delay(1),
            Fate::Split(31),
        ],
        cuts: vec![
            (vec![], 0),
            (
                vec![621454669878588754, 100280541995749825, 1422744214758211496],
                4,
            ),
            (vec![], 0),
            (vec![13368628875095504, 139297069144586], 7),
            (vec![], 0),
            (vec![3253823], 1),
            (vec![5485572124184780024], 14),
            (
                vec![
                    2652192749446390852,
                    18245735597927659073,
                    1728362469358632754,
                ],
                4,
            ),
            (vec![6915127630697582731], 21),
        ],
        ..plain()
    };
    case.check().unwrap();
}

#[test]
fn a_slow_receiver_does_not_outlast_the_wait_for_an_answer() {
    let config = Config {
        isn: 0,
        mss: 100,
        window: 30,
        has_timestamps: false,
        has_sack: false,
        has_nagle: true,
        ..Config::default()
    };
    let server = Config {
        has_nagle: false,
        delayed_ack: Some(Duration::from_millis(200)),
        ..config.clone()
    };
    let case = Case {
        bursts: vec![
            Burst {
                exchanges: vec![Exchange::Port(1024), Exchange::Pasv(1024)],
                is_merged: false,
            },
            Burst {
                exchanges: vec![
                    Exchange::Port(1024),
                    Exchange::PortRejected(1024),
                    Exchange::PortRejected(1024),
                    Exchange::BareLf(1024),
                    Exchange::Filler(436),
                    Exchange::Eprt(10000),
                    Exchange::Noop,
                ],
                is_merged: false,
            },
        ],
        ends: Ends {
            client: config,
            server,
        },
        ..plain()
    };
    case.check().unwrap();
}

#[test]
fn ends_whose_windows_are_full_do_not_acknowledge_each_other_for_ever() {
    let server = Config {
        isn: 0,
        mss: 40,
        window: 30,
        has_timestamps: false,
        has_sack: false,
        ..Config::default()
    };
    let client = Config {
        has_nagle: true,
        recuts: [30].into(),
        ..server.clone()
    };
    let case = Case {
        bursts: vec![Burst {
            exchanges: vec![
                Exchange::Filler(2),
                Exchange::PortZero(27748),
                Exchange::MultiLine(1024),
                Exchange::Filler(106),
            ],
            is_merged: false,
        }],
        ends: Ends { client, server },
        ..plain()
    };
    case.check().unwrap();
}

#[test]
fn a_long_line_that_was_acknowledged_locally_arrives_through_a_small_window() {
    let server = Config {
        delayed_ack: Some(Duration::from_millis(5)),
        ..small()
    };
    let case = Case {
        bursts: vec![Burst {
            exchanges: vec![Exchange::Filler(385), Exchange::Dele(412)],
            is_merged: false,
        }],
        ends: Ends {
            client: small(),
            server,
        },
        has_policy: true,
        ..plain()
    };
    case.check().unwrap();
}
