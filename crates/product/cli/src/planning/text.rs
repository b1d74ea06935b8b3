//! A plan for people: short tables, each figure with its unit, and what they rest on.

use super::figures::{accuracy, digits, gigabytes, size, speed, time};
use super::snippet::snippets;
use shaping::RateClass;
use shaping_plan::{
    Capacity, DirectionPlan, Directions, DpPlan, Goal, Horizon, NoNetShaper, Performance, Plan, Promises,
    RecommendedMode, Statistic, Traffic,
};
use std::fmt::Write;

/// Width of sentences in characters.
const WIDTH: usize = 110;

/// The whole of it.
pub(crate) fn render(plan: &Plan) -> String {
    let mut text = head(plan);
    text += &modes(plan);
    text += &classes(plan);
    if let Some(dp) = &plan.dp {
        text += &mechanism(dp);
    }
    if let (Some(dp), Some(promises)) = (&plan.dp, &plan.promises) {
        text += &losses(plan, dp, promises);
    }
    text += &configuration(plan);
    text += &basis(plan);
    text
}

fn traffic(plan: &Plan) -> &'static str {
    match plan.request.traffic {
        Traffic::Video => "video",
        Traffic::Web => "web pages",
    }
}

fn clients(count: u32) -> String {
    if count == 1 { "1 client".to_owned() } else { format!("{count} clients") }
}

fn head(plan: &Plan) -> String {
    let load = plan.load_bytes_per_second.map(|bytes| speed(8.0 * bytes));
    let busy = plan.request.busy_hours;
    let mut text = format!(
        "{} of {}, {busy} hours a day: {} down, {} up, {} GB a month in packets even if nothing is hidden\n",
        clients(plan.request.clients),
        traffic(plan),
        load.down,
        load.up,
        gigabytes(plan.traffic_bytes_per_month)
    );
    let given = match plan.request.goal {
        Goal::Privacy { epsilon } => format!("epsilon {epsilon} for each release of each direction"),
        Goal::Budget { bytes_per_month } => format!("at most {} GB a month", gigabytes(bytes_per_month)),
        Goal::Latency { epsilon, target } => {
            let what = if target.statistic == Statistic::Mean { "mean" } else { "95th percentile" };
            format!(
                "a {what} of at most {}, epsilon {epsilon} for each release of each direction",
                time(target.at_most)
            )
        }
    };
    let _ = writeln!(text, "Given: {given}");
    let found = match (plan.request.goal, &plan.dp) {
        (Goal::Budget { .. }, Some(dp)) => format!("epsilon {}, the smallest that it pays for", dp.epsilon.value()),
        (Goal::Budget { .. }, None) => "no epsilon up to 100 is paid for".to_owned(),
        (Goal::Latency { .. }, Some(dp)) => {
            let margin = f64::from(dp.directions.down.settings.margin.0) / 1024.0;
            format!("a margin of {margin:.2}, the smallest that keeps it")
        }
        (Goal::Latency { .. }, None) => "no margin of dp keeps it".to_owned(),
        (Goal::Privacy { .. }, Some(_)) => String::new(),
        (Goal::Privacy { .. }, None) => {
            "the rate of dp has no room to adapt between acknowledgements and Delta".to_owned()
        }
    };
    if !found.is_empty() {
        let _ = writeln!(text, "Found: {found}");
    }
    let reason = wrapped(&plan.recommendation.reason.to_string());
    let _ = writeln!(text, "\nRecommended: {}\n{reason}\n", plan.recommendation.mode.name());
    text
}

/// Lines of at most [`WIDTH`] characters, indented by two.
fn wrapped(sentence: &str) -> String {
    let mut lines = vec![String::from(" ")];
    for word in sentence.split(' ') {
        if lines.last().is_some_and(|line| line.len() + 1 + word.len() > WIDTH) {
            lines.push(String::from(" "));
        }
        if let Some(line) = lines.last_mut() {
            line.push(' ');
            line.push_str(word);
        }
    }
    lines.join("\n")
}

fn modes(plan: &Plan) -> String {
    let what = if plan.same.statistic == Statistic::Mean { "mean" } else { "95th percentile" };
    let mut text = format!(
        "Modes                                                             GB a month\n  \
         {:<12}{:>9}{:>9}{:>9}{:>9}   {:>7}{:>8}{:>8}   tells\n",
        "", "overhead", "mean", "p95", "p99", "up", "down", "both"
    );
    if let Some(dp) = &plan.dp {
        let tells = format!("epsilon {} a release", digits(dp.epsilon.value()));
        text += &row("dp", &dp.performance, &tells);
    }
    text += &row("constant", &plan.constant.performance, "nothing");
    if let Some(stepped) = &plan.stepped {
        let bits = [stepped.bits_per_hour, stepped.bits_per_day].map(|bits| digits(bits.value()));
        let tells = format!("at most {} bits an hour, {} a day", bits[0], bits[1]);
        text += &row("stepped", &stepped.performance, &tells);
    }
    match &plan.netshaper {
        Ok(model) => {
            let numbers = [digits(model.overhead_down), time(model.mean), time(model.p95), time(model.p99)];
            let [overhead, mean, p95, p99] = numbers;
            let down = gigabytes(model.bytes_per_month);
            let _ = writeln!(
                text,
                "  {:<12}{overhead:>9}{mean:>9}{p95:>9}{p99:>9}   {:>7}{down:>8}{:>8}   see below",
                "NetShaper", "-", "-"
            );
        }
        Err(NoNetShaper::EpsilonTooSmall { least }) => {
            let _ = writeln!(text, "  NetShaper   none: its accountant grants no epsilon below {least:.3}");
        }
        Err(NoNetShaper::NoEpsilon) => {}
    }
    let _ = writeln!(text, "  Compared at a {what} of at most {}.", time(plan.same.at_most));
    if let Ok(model) = &plan.netshaper {
        let sentence = format!(
            "NetShaper is a model, down only, without headers: T = {}, sigma = {} Delta by its own (RDP) accountant, which counts \
             epsilon {} an hour.",
            time(model.interval),
            digits(model.noise_multiplier),
            digits(model.epsilon_of_hour.value())
        );
        let _ = writeln!(text, "{}", wrapped(&sentence));
    }
    if let Some(stepped) = &plan.stepped {
        let names = stepped.classes.down.classes().iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let basis = if stepped.is_simulated { "" } else { "; its figures are those of the fastest" };
        let minutes = stepped.rise.as_secs_f64() / 60.0;
        let sentence = format!(
            "stepped chooses among {names} down{basis}. When traffic comes back it climbs for up to {minutes:.0} minutes."
        );
        let _ = writeln!(text, "{}", wrapped(&sentence));
    }
    text.push('\n');
    text
}

fn row(name: &str, performance: &Performance, tells: &str) -> String {
    let Performance { overhead, mean, p95, p99, bytes_per_month, keeps_up } = *performance;
    let overhead = digits(overhead);
    let [mean, p95, p99] = [mean, p95, p99].map(time);
    let both = gigabytes(bytes_per_month.sum());
    let Directions { up, down } = bytes_per_month.map(gigabytes);
    let warning = if keeps_up { "" } else { "; falls behind the traffic" };
    format!("  {name:<12}{overhead:>9}{mean:>9}{p95:>9}{p99:>9}   {up:>7}{down:>8}{both:>8}   {tells}{warning}\n")
}

fn classes(plan: &Plan) -> String {
    let mut text = format!("Constant classes near that ({} up)\n", plan.constant.classes.up);
    for (class, performance) in &plan.constant.ladder {
        let mark = if *class == plan.constant.classes.down { "  <-" } else { "" };
        let _ = writeln!(
            text,
            "  {:<14}overhead {:>5}   mean {:>7}   p95 {:>7}   {:>6} GB a month{mark}",
            class.to_string(),
            digits(performance.overhead),
            time(performance.mean),
            time(performance.p95),
            gigabytes(performance.bytes_per_month.sum())
        );
    }
    if let Some(bound) = &plan.constant.user_bound {
        let _ = writeln!(
            text,
            "  For one client a mean of {} takes an overhead of {:.2} or more down, at any constant rate.",
            time(bound.mean),
            bound.least_overhead_down
        );
    }
    text.push('\n');
    text
}

fn mechanism(dp: &DpPlan) -> String {
    let mut text = format!("dp                    {:>14}{:>14}\n", "down", "up");
    let mut line = |name: &str, of: &dyn Fn(&DirectionPlan) -> String, note: &str| {
        let (down, up) = (of(&dp.directions.down), of(&dp.directions.up));
        let _ = writeln!(text, "{}", format!("  {name:<20}{down:>14}{up:>14}   {note}").trim_end());
    };
    let bits = |value: u64| speed(value as f64);
    let class = |class: RateClass| class.to_string();
    let share = |value: shaping::Per1024| format!("{:.3}", f64::from(value.0) / 1024.0);
    line("Delta", &|of| size(of.settings.delta_bytes), "bytes of a client in an epoch that a release hides");
    line("speed limit", &|of| bits(of.speed_limit_bits_per_second), "of each client: Delta / W");
    line("mu", &|of| format!("{:.4}", of.mu.value()), "Delta / sigma");
    line("sigma", &|of| size(of.settings.sigma.bytes()), "noise of a release");
    line("  as a rate", &|of| bits(of.noise_bits_per_second), "sigma / W");
    line("  smoothed", &|of| bits(of.smoothed_noise_bits_per_second), "by the moving average");
    line("noise floor", &|of| bits(of.noise_floor_bits_per_second), "what the rate is raised by for it");
    line("gain", &|of| share(of.settings.gain), "");
    line("margin", &|of| share(of.settings.margin), "");
    line("errors", &|of| share(of.settings.errors), "");
    line("floor class", &|of| class(of.settings.floor), "carries the other direction's acknowledgements");
    line("class at rest", &|of| class(of.at_rest), "with nobody there");
    line("ceiling class", &|of| class(of.settings.ceiling), "");
    text.push('\n');
    text
}

fn losses(plan: &Plan, dp: &DpPlan, promises: &Promises) -> String {
    let delta = dp.delta.value();
    let epoch = plan.request.epoch.as_secs();
    let mut text = format!(
        "What dp promises, three ways (both directions together unless one is named; delta {delta:e}; docs/privacy.md)\n\
         (a) Nobody reacts to delays, and only the bytes of these clients differ, in every epoch of the time:\n      \
         {:<28}{:>8}{:>10}{:>11}{:>16}\n",
        "", "mu", "epsilon", "certified", "best attacker"
    );
    let spans = [format!("an epoch ({epoch} s)"), "an hour".to_owned(), "a day".to_owned()];
    let count = plan.request.clients;
    let mut tables = vec![(1, &promises.one_client)];
    if count > 1 {
        tables.push((count, &promises.all_clients));
    }
    text += &horizon_row("1 client, one release down", &promises.one_release);
    for (count, horizons) in tables {
        for (span, horizon) in spans.iter().zip(horizons) {
            text += &horizon_row(&format!("{}, {span}", clients(count)), horizon);
        }
    }
    text += &reacting(dp, promises);
    let _ = writeln!(
        text,
        "(c) Whatever reacts: bits about anything, at most\n      {:<38}{:>10}{:>10}{:>10}",
        "", "an epoch", "an hour", "a day"
    );
    for (name, table) in
        [("C = Delta x clients", &promises.by_quotas), ("C = the ceiling's epoch", &promises.by_ceiling)]
    {
        text += &capacity_rows(name, table);
    }
    text.push('\n');
    text
}

fn reacting(dp: &DpPlan, promises: &Promises) -> String {
    let reacting = &promises.reacting;
    let who = if reacting.clients == 1 { "1 other client".to_owned() } else { format!("{} others", reacting.clients) };
    format!(
        "(b) They react: no bound is claimed. Measured with {who} who think after each answer, and service of {:.2} times\n      \
         the load: one client's {} more in one epoch moved the counts of {} epochs by {} Delta ({} to {}).\n      \
         As if epsilon down were {}, and the best attacker right in {}, for a difference in one epoch.\n",
        f64::from(reacting.service_per_cent) / 100.0,
        size(dp.directions.down.settings.delta_bytes),
        reacting.epochs,
        digits(reacting.factor),
        digits(reacting.range[0]),
        digits(reacting.range[1]),
        digits(reacting.epsilon.value()),
        accuracy(reacting.accuracy.value()),
    )
}

fn horizon_row(name: &str, horizon: &Horizon) -> String {
    let [mu, epsilon, certified] = [horizon.mu.value(), horizon.epsilon.value(), horizon.certified.value()].map(digits);
    let attacker = accuracy(horizon.accuracy.value());
    format!("      {name:<28}{mu:>8}{epsilon:>10}{certified:>11}{attacker:>16}\n")
}

fn capacity_rows(name: &str, table: &[Capacity; 3]) -> String {
    let range = table[0].range_bytes;
    let mut text = String::new();
    let mut row = |what: &str, of: &dyn Fn(&Capacity) -> f64| {
        let [epoch, hour, day] = [&table[0], &table[1], &table[2]].map(|capacity| digits(of(capacity)));
        let _ = writeln!(text, "      {what:<38}{epoch:>10}{hour:>10}{day:>10}");
    };
    row(&format!("{name}: leakage"), &|capacity| capacity.leakage.value());
    row("  mutual information", &|capacity| capacity.information.value());
    let _ = writeln!(text, "        (C is {} down, {} up)", size(range.down), size(range.up));
    text
}

fn configuration(plan: &Plan) -> String {
    let snippets = snippets(plan);
    let ledger = match plan.recommendation.mode {
        RecommendedMode::Constant => "",
        RecommendedMode::Stepped | RecommendedMode::Dp => "# once, at the entry: hushwire ledger new -c entry.toml\n",
    };
    format!(
        "Configuration\n\n# in entry.toml\n{}\n\n# in exit.toml\n{}\n\n{ledger}",
        snippets.entry.trim_end(),
        snippets.exit.trim_end()
    )
}

fn basis(plan: &Plan) -> String {
    let simulated = &plan.simulated;
    let last = simulated.first_seed.saturating_add(u64::from(simulated.seeds).saturating_sub(1));
    format!(
        "# Simulated: {} s of generated traffic ({}) that does not react, seeds {} to {last}, slots of {} ms, a round trip\n\
         # of {}; dp begins with the expected load as its estimate. Bytes are UDP payload, months have 30 days.\n",
        simulated.length.as_secs(),
        traffic(plan),
        simulated.first_seed,
        plan.request.slot.as_millis(),
        time(plan.request.round_trip)
    )
}
