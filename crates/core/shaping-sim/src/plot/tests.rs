use super::*;
use proptest::prelude::*;

fn chart(title: &str, series: Vec<Series>) -> Chart {
    let (x, y) = (Axis::logarithmic("latency, ms"), Axis::linear("overhead"));
    Chart { title: title.to_owned(), x, y, series }
}

/// Enough of a check for what is written here: tags are closed, attributes quoted, and nothing else holds `<` or `&`.
fn assert_well_formed(svg: &str) {
    let mut open = Vec::new();
    let mut rest = svg;
    while let Some(at) = rest.find('<') {
        assert!(!rest[..at].contains('>'), "a bare > in {svg}");
        let end = rest[at..].find('>').expect("a tag ends") + at;
        let tag = &rest[at + 1..end];
        assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name.to_owned()));
        } else if !tag.ends_with('/') {
            open.push(tag.split(' ').next().unwrap_or_default().to_owned());
        }
        rest = &rest[end + 1..];
    }
    assert_eq!(open, Vec::<String>::new());
    let entities = svg.match_indices('&').map(|(at, _)| &svg[at..]);
    for entity in entities {
        let known = ["&amp;", "&lt;", "&gt;", "&quot;", "&#39;"];
        assert!(known.iter().any(|known| entity.starts_with(known)), "{entity:.10}");
    }
}

#[test]
fn names_cannot_break_out() -> Result<(), SeriesError> {
    let name = "</text><script>alert(\"1\" & '2')</script>\u{0}";
    let series = Series::new(name, Look::Points, vec![(1.0, 1.0)])?.with_labels(vec![name.to_owned()]);
    let svg = chart(name, vec![series]).to_svg();
    assert_well_formed(&svg);
    assert!(!svg.contains("<script>") && !svg.contains('\u{0}'));
    assert!(svg.contains("&lt;/text&gt;&lt;script&gt;alert(&quot;1&quot; &amp; &#39;2&#39;)&lt;/script&gt;"));
    Ok(())
}

#[test]
fn numbers_that_are_none_cannot_enter() {
    for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let series = Series::new("s", Look::Line, vec![(1.0, 1.0), (bad, 1.0)]);
        assert_eq!(series, Err(SeriesError::NotFinite(1)));
    }
    let many = vec![(1.0, 1.0); POINTS_MAX + 1];
    assert_eq!(Series::new("s", Look::Line, many), Err(SeriesError::TooMany));
}

#[test]
fn every_series_is_drawn_and_stands_in_the_legend() -> Result<(), SeriesError> {
    let looks = [Look::Joined, Look::Points, Look::Line, Look::Steps, Look::Corner, Look::Level];
    let series = |(index, look): (usize, &Look)| {
        Series::new(&format!("series {index}"), *look, vec![(10.0, 1.0), (100.0, 2.0), (-1.0, 0.0)])
    };
    let svg = chart("t", looks.iter().enumerate().map(series).collect::<Result<_, _>>()?).to_svg();
    assert_well_formed(&svg);
    for (index, colour) in COLOURS.iter().enumerate().take(looks.len()) {
        assert!(svg.contains(&format!("series {index}</text>")));
        assert!(svg.matches(colour).count() >= 2, "{index} has a key and a picture");
    }
    Ok(())
}

#[test]
fn labels_keep_clear_of_points_and_of_each_other() -> Result<(), SeriesError> {
    let points = vec![(100.0, 1.0), (104.0, 1.0), (108.0, 1.0), (1_000.0, 2.0)];
    let labels = ["first", "second", "third", "far right"].map(str::to_owned).to_vec();
    let svg = chart("t", vec![Series::new("s", Look::Points, points)?.with_labels(labels)]).to_svg();
    let place = |text: &str| {
        let line = svg.lines().find(|line| line.ends_with(&format!(">{text}</text>"))).expect("the label is drawn");
        let number = |name: &str| line.split(&format!(" {name}=\"")).nth(1)?.split('"').next()?.parse::<f64>().ok();
        (number("x"), number("y"), line.contains("\"end\"") || line.contains("\"middle\""))
    };
    assert_ne!(place("first").1, place("second").1);
    assert!(place("far right").2, "it does not leave the picture");
    Ok(())
}

proptest! {
    #[test]
    fn any_points_make_a_picture_with_all_of_them_inside(
        points in proptest::collection::vec((-1e12_f64..1e12, -1e12_f64..1e12), 0..40),
    ) {
        let series = Series::new("s", Look::Joined, points).map_err(|error| TestCaseError::fail(error.to_string()))?;
        let svg = chart("t", vec![series]).to_svg();
        assert_well_formed(&svg);
        prop_assert!(!svg.contains("NaN") && !svg.contains("inf"));
        let centres = svg.split("<circle cx=\"").skip(1).filter_map(|rest| rest.split('"').next()?.parse::<f64>().ok());
        for x in centres {
            prop_assert!((LEFT - 0.1..=WIDTH).contains(&x), "{x}");
        }
    }
}
