use moult_plugin_api::prelude::*;

module_options! {
    /// Options of mod_dice. The host checks the configuration against them, limits included.
    pub struct Options {
        /// Sides of the dice.
        sides: u64 = 6, min 2, max 100;
    }
}

pub struct Dice {
    host: Host,
    options: Options,
}

impl Module for Dice {
    type Options = Options;

    fn start(host: &Host, options: Options) -> Result<Started<Self>, Stop> {
        host.on_iq("urn:example:dice", Self::roll)?;
        Started::running(Self { host: host.clone(), options })
    }
}

impl Dice {
    fn roll(&self, iq: &Iq<'_>) -> Result<Element, StanzaError> {
        iq.require_get()?;
        let number = 1 + iq.id().len() as u64 % self.options.sides;
        debug!(self.host.about(iq.from()), "rolled {number}");
        Ok(Element::new("rolled").with_ns(iq.ns()).with_text(number.to_string()))
    }
}

export_module! { module: Dice, id: "mod_dice", description: "Rolls dice" }

#[test]
fn it_rolls() {
    let host = moult_plugin_api::testing::FakeHost::new("example.org");
    let dice = host.start::<Dice>(r#"{"sides": 2}"#);
    let roll = "<roll xmlns='urn:example:dice'/>";
    let answer = dice.iq_get("ann@example.org/x", "example.org", roll).unwrap();
    assert_eq!(answer.unwrap().text(), "1");
}
