//! Running the tests that `ert-deftest` defines. The macros are in `prelude.el`.

use crate::eval::Interp;
use crate::value::{Flow, Res, Subr, Value, signal};

impl Interp<'_> {
    /// Runs all tests in alphabetical order; the report goes to standard error. Returns how
    /// many did not end as expected.
    pub fn run_tests(&mut self) -> Res<usize> {
        let world = self.world.clone();
        let mut tests = world.tests.get();
        tests.sort_by(|a, b| a.name.cmp(&b.name));
        let (total, mut unexpected, mut skipped) = (tests.len(), 0, 0);
        world.log(&format!("Running {total} tests"));
        for (i, test) in tests.iter().enumerate() {
            let body = crate::eval::get_property(test, &world.intern("ert--body"));
            let expected = crate::eval::get_property(test, &world.intern("ert--expected"));
            let expects_failure = expected.is_named(":failed");
            let buffer = self.buffer();
            let own_buffer = world.new_buffer(" *temp*");
            self.thread.buffer.set(own_buffer.clone());
            let result = self.funcall(&body, Vec::new());
            self.kill_buffer(&own_buffer)?;
            if buffer.is_live() {
                self.thread.buffer.set(buffer);
            }
            let (word, condition) = match result {
                Ok(_) => ("passed", None),
                Err(flow) => match self.settle(*flow)? {
                    (symbol, _) if symbol.is_named("ert-test-skipped") => ("skipped", None),
                    (symbol, data) => ("FAILED", Some(Value::cons(symbol, data))),
                },
            };
            if let Some(condition) = &condition {
                let shown = crate::print::shown(condition);
                world.log(&format!("Test {} condition:\n    {shown}", test.name));
            }
            skipped += usize::from(word == "skipped");
            // Capitals are for what was not expected.
            let word = match word {
                "passed" if expects_failure => "PASSED",
                "FAILED" if expects_failure => "failed",
                word => word,
            };
            unexpected += usize::from(matches!(word, "PASSED" | "FAILED"));
            let number = format!("{}/{total}", i + 1);
            world.log(&format!("{word:>9}  {number}  {}", test.name));
        }
        let as_expected = total - unexpected - skipped;
        let mut line = format!("\nRan {total} tests, {as_expected} results as expected");
        line += &format!(", {unexpected} unexpected");
        if skipped > 0 {
            line += &format!(", {skipped} skipped");
        }
        world.log(&line);
        Ok(unexpected)
    }
}

fn run_and_exit(cx: &mut Interp<'_>, _: &[Value]) -> Res {
    cx.world.tests_ran.set(true);
    let unexpected = cx.run_tests()?;
    Err(Box::new(Flow::Exit(i32::from(unexpected > 0))))
}

pub static SUBRS: &[Subr] = &[
    Subr::new("ert--define", 3, 3, |cx, a| {
        let name = a[0].symbol()?;
        let put = crate::eval::put_property;
        put(name, cx.world.intern("ert--body"), a[1].clone());
        put(name, cx.world.intern("ert--expected"), a[2].clone());
        cx.world.tests.with(|tests| {
            if !tests.iter().any(|t| t.name == name.name) {
                tests.push(name.clone());
            }
        });
        Ok(a[0].clone())
    }),
    Subr::new("ert-fail", 1, 1, |_, a| signal("ert-test-failed", a)),
    Subr::new("ert-skip", 1, 1, |_, a| signal("ert-test-skipped", a)),
    Subr::new("ert-run-tests-batch-and-exit", 0, 1, run_and_exit),
    Subr::new("ert-run-tests-batch", 0, 1, |cx, _| {
        cx.world.tests_ran.set(true);
        cx.run_tests()?;
        Ok(Value::Nil)
    }),
];
