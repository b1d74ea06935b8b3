use super::*;
use proptest::prelude::*;

/// Two ends and the packets between them: `deliver(n)` says whether packet n comes.
struct Ends {
    now: Instant,
    left: Traffic,
    right: Traffic,
}

impl Ends {
    fn new() -> Self {
        let now = Instant::now();
        let traffic = || Traffic::new(now, Duration::from_millis(100));
        Self { now, left: traffic(), right: traffic() }
    }

    /// One second: `packets` each way, of which every `lost`th from the left is lost, then both reports.
    fn second(&mut self, packets: u64, lost: u64) -> (LinkFigures, LinkFigures) {
        for number in 0..packets {
            self.left.count_sent(false);
            self.right.count_sent(false);
            self.left.count_received(false, false);
            if lost == 0 || number % lost != 0 {
                self.right.count_received(number % 50 == 1, false);
            }
        }
        self.now += Duration::from_secs(1);
        let report = self.left.make_report(self.now);
        self.left.count_sent(true);
        self.right.count_received(false, true);
        self.now += Duration::from_millis(20);
        let right = self.right.handle_report(self.now, report).expect("a new report");
        let report = self.right.make_report(self.now + Duration::from_millis(5));
        self.right.count_sent(true);
        self.left.count_received(false, true);
        self.now += Duration::from_millis(25);
        (self.left.handle_report(self.now, report).expect("a new report"), right)
    }
}

#[test]
fn loss_of_the_last_ten_seconds_is_exact_at_both_ends() {
    let mut ends = Ends::new();
    for _ in 0..5 {
        let (left, right) = ends.second(1000, 0);
        assert_eq!((left.outbound.lost, left.inbound.lost, right.outbound.lost), (0, 0, 0));
    }
    for _ in 0..30 {
        ends.second(1000, 10);
    }
    let (left, right) = ends.second(1000, 10);
    assert_eq!(left.outbound.per_mille(), 99, "100 of each 1001");
    assert_eq!(right.inbound, LossFigures { span: right.inbound.span, ..left.outbound });
    assert_eq!((left.inbound.lost, right.outbound.lost), (0, 0));
    assert!(left.outbound.span >= LOSS_WINDOW && left.outbound.span < 2 * LOSS_WINDOW, "{:?}", left.outbound.span);
    assert!(left.outbound.marked > 0);
    for _ in 0..12 {
        ends.second(1000, 0);
    }
    assert_eq!(ends.left.figures().outbound.lost, 0, "an old loss is forgotten");
}

#[test]
fn reports_measure_the_round_trip_without_the_time_they_were_held() {
    let mut ends = Ends::new();
    for _ in 0..60 {
        ends.second(1, 0);
    }
    let rtt = ends.left.rtt();
    assert!(rtt.abs_diff(Duration::from_millis(40)) < Duration::from_millis(2), "{rtt:?}");
}

#[test]
fn overtaken_and_impossible_reports_change_nothing() {
    let mut ends = Ends::new();
    ends.second(10, 0);
    let before = ends.left.figures();
    let old = Report { sent: 1, received: 0, marked: 0, of: 0, stamp: 1, echo: 0, held: 0, asks: false };
    assert_eq!(ends.left.handle_report(ends.now, old), None);
    let lie = Report { sent: 1000, received: 9, marked: 0, of: u64::MAX, stamp: 1, echo: 0, held: 0, asks: false };
    let after = ends.left.handle_report(ends.now, lie).expect("a new report");
    assert_eq!(after.outbound, before.outbound, "it speaks of packets that were never sent");
}

#[test]
fn reports_that_do_not_come_through_are_repeated_until_the_peer_knows_one() {
    let mut ends = Ends::new();
    ends.second(100, 0);
    // From here on nothing of the left comes through; the right goes on to report.
    let repeats = |ends: &mut Ends| {
        let mut repeats = 0;
        for _ in 0..200 {
            ends.now += Duration::from_millis(5);
            ends.left.count_sent(false);
            if ends.left.report_due(true).is_some_and(|at| ends.now >= at) {
                ends.left.make_report(ends.now);
                ends.left.count_sent(true);
                repeats += 1;
            }
        }
        repeats
    };
    assert_eq!(repeats(&mut ends), 1, "the regular one");
    ends.now += Duration::from_millis(400);
    let report = ends.right.make_report(ends.now);
    ends.right.count_sent(true);
    ends.left.count_received(false, true);
    ends.left.handle_report(ends.now, report);
    let lost = ends.left.unheard_from.expect("the peer does not know of the last report");
    let report = ends.left.make_report(ends.now);
    assert!(report.asks && report.sent > lost);
    let repeated = repeats(&mut ends);
    assert!((11..=14).contains(&repeated), "one packet of sixteen: {repeated}");
    // One comes through; the right answers soon, and the left is content.
    let report = ends.left.make_report(ends.now);
    ends.right.count_received(false, true);
    ends.right.handle_report(ends.now, report).expect("a new report");
    let due = ends.right.report_due(false).expect("the peer asked");
    assert!(due <= ends.now, "{:?}", due - ends.now);
    let report = ends.right.make_report(ends.now);
    ends.left.count_received(false, true);
    ends.left.handle_report(ends.now, report).expect("a new report");
    assert_eq!(ends.left.unheard_from, None);
    let stretch = ends.left.take_stretches()[0].expect("packets were counted");
    assert!(stretch.received * 10 < stretch.sent && stretch.span >= Duration::from_secs(2), "{stretch:?}");
}

#[test]
fn a_peer_that_is_heard_and_does_not_report_is_asked() {
    let now = Instant::now();
    let mut traffic = Traffic::new(now, Duration::ZERO);
    for _ in 0..40 {
        traffic.count_sent(false);
    }
    traffic.make_report(now + Duration::from_secs(1));
    for _ in 0..40 {
        traffic.count_sent(false);
    }
    assert_eq!(traffic.report_due(true), Some(now + Duration::from_secs(2)), "a dead peer is not asked");
    traffic.count_received(false, false);
    traffic.count_received(false, false);
    let due = now + UNREPORTED_MAX;
    assert_eq!(traffic.report_due(true), Some(due));
    assert!(traffic.make_report(due).asks);
}

#[test]
fn an_idle_link_without_a_grid_reports_nothing() {
    let now = Instant::now();
    let mut traffic = Traffic::new(now, Duration::ZERO);
    assert_eq!(traffic.report_due(false), None);
    assert_eq!(traffic.report_due(true), Some(now + REPORT_INTERVAL));
    traffic.count_received(false, true);
    assert_eq!(traffic.report_due(false), None, "a report is not answered by a report");
    traffic.count_received(false, false);
    assert_eq!(traffic.report_due(false), Some(now + REPORT_INTERVAL));
    traffic.make_report(now + Duration::from_secs(1));
    assert_eq!(traffic.report_due(false), None);
    assert_eq!(traffic.report_due(true), Some(now + Duration::from_secs(2)));
}

proptest! {
    #[test]
    fn a_report_survives_a_round_trip(a in any::<[u64; 4]>(), b in any::<[u32; 3]>(), asks: bool) {
        let [sent, received, marked, of] = a;
        let [stamp, echo, held] = b;
        let report = Report { sent, received, marked, of, stamp, echo, held, asks };
        prop_assert_eq!(Report::decode(&report.encode()), Ok(report));
    }

    #[test]
    fn no_report_breaks_the_count(reports in proptest::collection::vec((any::<[u64; 4]>(), any::<[u32; 3]>()), 0..40)) {
        let now = Instant::now();
        let mut traffic = Traffic::new(now, Duration::ZERO);
        for ([sent, received, marked, of], [stamp, echo, held]) in reports {
            traffic.count_sent(false);
            traffic.count_received(true, true);
            let report = Report { sent, received, marked, of: of % 50, stamp, echo, held, asks: stamp % 2 == 0 };
            if let Some(figures) = traffic.handle_report(now, report) {
                prop_assert!(figures.outbound.lost <= figures.outbound.sent);
                prop_assert!(figures.outbound.per_mille() <= 1000);
            }
        }
        prop_assert!(traffic.outbound.0.len() <= SAMPLES_MAX);
    }
}
