//! Seeded mutations: of numbers and instructions in a guest's text, and of the bytes of a component.

/// SplitMix64 (Steele, Lea and Flood 2014).
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        Random(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub(crate) fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    pub(crate) fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }

    /// A number that programs stumble over, as i32.
    pub(crate) fn awkward(&mut self) -> i32 {
        let any = self.next() as i32;
        let near = (self.below(9) as i32) - 4;
        let edge =
            self.pick(&[0, 1, -1, i32::MAX, i32::MIN, 4_096, 65_536, 131_072, 262_144, 1 << 20]);
        if self.one_in(4) { any } else { edge.wrapping_add(near) }
    }
}

/// Instructions of one type, which may stand for each other.
const KIN: [&[&str]; 6] = [
    &[
        "i32.add",
        "i32.sub",
        "i32.mul",
        "i32.and",
        "i32.or",
        "i32.xor",
        "i32.shl",
        "i32.shr_u",
        "i32.div_u",
        "i32.rem_s",
        "i32.rotl",
    ],
    &["i32.eq", "i32.ne", "i32.lt_u", "i32.gt_s", "i32.le_u", "i32.ge_s"],
    &["i32.load", "i32.load8_u", "i32.load16_s"],
    &["i32.store", "i32.store8", "i32.store16"],
    &["i64.add", "i64.sub", "i64.mul", "i64.rotr", "i64.xor"],
    &["i32.eqz", "i32.clz", "i32.popcnt"],
];

/// The text of a guest after `changes` changes of a number or an instruction.
pub(crate) fn of_text(text: &str, random: &mut Random, changes: u64) -> String {
    let mut text = text.to_owned();
    for _ in 0..changes {
        text = if random.one_in(3) {
            other_instruction(&text, random)
        } else {
            other_number(&text, random)
        };
    }
    text
}

fn other_number(text: &str, random: &mut Random) -> String {
    const CONST: &str = "i32.const ";
    let places: Vec<usize> = text.match_indices(CONST).map(|(at, _)| at + CONST.len()).collect();
    if places.is_empty() {
        return text.to_owned();
    }
    let at = random.pick(&places);
    let end = text[at..].find(')').map_or(text.len(), |len| at + len);
    format!("{}{}{}", &text[..at], random.awkward(), &text[end..])
}

fn other_instruction(text: &str, random: &mut Random) -> String {
    let kin = random.pick(&KIN);
    let places: Vec<(usize, &str)> = kin
        .iter()
        .flat_map(|name| text.match_indices(*name))
        .filter(|(at, name)| {
            let after = text[at + name.len()..].chars().next();
            text[..*at].ends_with('(') && after.is_some_and(|it| it == ' ' || it == '\n')
        })
        .collect();
    if places.is_empty() {
        return other_number(text, random);
    }
    let (at, name) = random.pick(&places);
    format!("{}{}{}", &text[..at], random.pick(kin), &text[at + name.len()..])
}

/// The bytes of a component after flips, cuts and repetitions.
pub(crate) fn of_bytes(mut bytes: Vec<u8>, random: &mut Random) -> Vec<u8> {
    for _ in 0..=random.below(4) {
        // The first 8 bytes say that it is a component.
        let at = 8 + random.below(bytes.len().max(9) as u64 - 8) as usize;
        match random.below(6) {
            0 => bytes.truncate(at),
            1 => {
                let end = (at + random.below(64) as usize).min(bytes.len());
                let again = bytes[at.min(end)..end].to_vec();
                bytes.splice(at.min(end)..at.min(end), again);
            }
            2 => bytes.insert(at.min(bytes.len()), random.next() as u8),
            _ => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << random.below(8);
                }
            }
        }
    }
    bytes
}
