"""The golden texts, made from the material below and a fixed pseudo-random sequence.

Invisible and combining characters are written as escapes, so that a reader sees what is tested.
"""

# Sentences written for this file; each says roughly "a boat waits by the bridge until the rain
# stops" or something about weather, machines or food in its own language.
SENTENCES = [
    # English, with case, quotes and contractions
    "A small boat waits under the bridge until the rain stops.",
    "The scheduler didn't wake the worker, so the queue grew to 1,024 entries.",
    "She said: \"We'll never ship on a Friday!\" and then they shipped on a Friday.",
    "McDonald's OLD iPhone wasn't CHEAP, but it'd worked since 2012...",
    "Unbelievably, antidisestablishmentarianism and electroencephalography rhyme with nothing.",
    "How do I reset my password if I no longer have access to my e-mail address?",
    "I forgot my login credentials and cannot reach my mailbox; what now?",
    "The cat sat on the mat.",
    "A feline was resting upon a rug.",
    "Quarterly revenue rose 12.5 % while operating costs fell by a third.",
    # Latin script with diacritics
    "Größere Übungsplätze für Ärzte kosten im März weniger, heißt es in Straßburg.",
    "FUẞGÄNGER MÜSSEN DIE STRAẞE NICHT MEHR FÜRCHTEN.",
    "Où est passé l’élève qui a mangé ma crème brûlée à Nîmes, ça alors !",
    "El niño pingüino pidió más jalapeños; ¿quién pagará la cuenta? ¡Qué sorpresa!",
    "A manhã de São João não é só fogo: há também pão, maçã e canções.",
    "Perché la città è così silenziosa? Più tardi tornerà il rumore.",
    "Zażółć gęślą jaźń, a łódź niech płynie wśród źdźbeł trawy.",
    "Příliš žluťoučký kůň úpěl ďábelské ódy u řeky Ještědky.",
    "İstanbul'da ışıl ışıl bir akşam, ığdır kayısısı ve şekersiz çay.",
    "Trời mưa tầm tã nên chiếc thuyền nhỏ phải đợi dưới gầm cầu suốt buổi chiều.",
    "Það rignir á þökin og ég hef ekkert ætt nema skyr og rúgbrauð.",
    "Pieni vene odottaa sillan alla, kunnes sade lakkaa; hyvää yötä, äiti!",
    "Árvíztűrő tükörfúrógép őrzi a hűs kőből épült műhelyt.",
    "Țara și știința își țes gândurile în această dimineață de mâță.",
    "Įsidėmėk šį ąžuolą: čia žuvėdros ėda ūkanotą rūką.",
    "Små båter venter på øya mens bølgene slår mot svaberget; ååå!",
    "Ċetta qalet li għandha ħobża u żewġ ġobniet tal-bajd.",
    "Cymru: mae'r tŷ ar y bryn yn wyn, a'r dŵr yn gynnes.",
    "Ọjọ́ dára lónìí, ẹ jẹ́ ká lọ sí ọjà láti ra iṣu.",
    "Chú dê núi ǎ ǐ ǒ ǔ ǚ dấu nặng; pīnyīn yǒu sì gè shēngdiào.",
    # Cyrillic and Greek
    "Маленькая лодка ждёт под мостом, пока не кончится дождь; ЁЛКА и ёж рядом.",
    "Їжак і ґава їдять кашу біля під'їзду, а щеня спить.",
    "Малкият кораб чака под моста, докато спре дъждът.",
    "Љубав, њива, џеп и ђак: ћирилица је лепа.",
    "Кішкентай қайық көпір астында жаңбырдың тоқтауын күтіп тұр.",
    "Бяцхан завь гүүрэн доор борооны зогсохыг хүлээнэ.",
    "Η μικρή βάρκα περιμένει κάτω από τη γέφυρα ώσπου να σταματήσει η βροχή.",
    "ΟΔΥΣΣΕΥΣ ΚΑΙ ΣΙΣΥΦΟΣ: τέλος, ρυθμός, Άγιος Νικόλαος.",
    "ἐν ἀρχῇ ἦν ὁ λόγος· τῷ ᾠδῷ ῥᾴδιον ᾄδειν.",
    # Right to left, with and without vowel signs
    "ينتظر القارب الصغير تحت الجسر حتى يتوقف المطر، أليس كذلك؟",
    "كَتَبَ الطَّالِبُ الدَّرْسَ ثُمَّ نَامَ.",
    "قایق کوچک زیر پل منتظر می\u200cماند تا باران بند بیاید؛ ۱۲۳۴.",
    "چھوٹی کشتی پل کے نیچے بارش رکنے کا انتظار کرتی ہے۔",
    "הסירה הקטנה מחכה מתחת לגשר עד שייפסק הגשם.",
    "שָׁלוֹם עֲלֵיכֶם, הַיֶּלֶד אָכַל תַּפּוּחַ.",
    "ܫܠܡܐ ܥܠܝܟܘܢ ܐܚܝ̈ܐ",
    "ދިވެހިރާއްޖޭގެ މޫސުން ރަނގަޅު.",
    # South Asia
    "छोटी नाव पुल के नीचे बारिश रुकने की प्रतीक्षा करती है।",
    "क्या आप मेरा पासवर्ड बदल सकते हैं? धन्यवाद, श्रीमान् १२३।",
    "ছোট নৌকাটি সেতুর নিচে বৃষ্টি থামার অপেক্ষা করছে।",
    "சிறிய படகு மழை நிற்கும் வரை பாலத்தின் கீழ் காத்திருக்கிறது.",
    "చిన్న పడవ వాన ఆగే వరకు వంతెన కింద వేచి ఉంది.",
    "નાની હોડી વરસાદ બંધ થાય ત્યાં સુધી પુલ નીચે રાહ જુએ છે.",
    "ਛੋਟੀ ਕਿਸ਼ਤੀ ਪੁਲ ਹੇਠ ਮੀਂਹ ਰੁਕਣ ਦੀ ਉਡੀਕ ਕਰਦੀ ਹੈ।",
    "ಚಿಕ್ಕ ದೋಣಿ ಮಳೆ ನಿಲ್ಲುವವರೆಗೆ ಸೇತುವೆಯ ಕೆಳಗೆ ಕಾಯುತ್ತದೆ.",
    "ചെറിയ വള്ളം മഴ തോരുന്നതുവരെ പാലത്തിനടിയിൽ കാത്തുനിൽക്കുന്നു.",
    "කුඩා බෝට්ටුව වැස්ස නවතින තුරු පාලම යට බලා සිටී.",
    # South-East Asia and Tibet
    "เรือลำเล็กรออยู่ใต้สะพานจนกว่าฝนจะหยุดตก น้ำใจไม่มีวันหมด",
    "ເຮືອນ້ອຍລໍຖ້າຢູ່ກ້ອງຂົວຈົນກວ່າຝົນຈະເຊົາ.",
    "ទូកតូចរង់ចាំនៅក្រោមស្ពានរហូតដល់ភ្លៀងឈប់។",
    "လှေငယ်သည် မိုးတိတ်သည်အထိ တံတားအောက်တွင် စောင့်နေသည်။",
    "གྲུ་ཆུང་ཆར་པ་མ་ཆད་བར་ཟམ་པའི་འོག་ཏུ་སྒུག་བསྡད།",
    # Chinese, Japanese, Korean
    "小船在桥下等着雨停，然后继续航行。",
    "小船在橋下等著雨停，然後繼續航行：「好！」",
    "机器学习model的precision为98.7%，比baseline高。",
    "小さな船は、雨が止むまで橋の下で待っています。",
    "カタカナとひらがなと漢字、ﾊﾝｶｸｶﾅも混ぜるゾ！ＡＢＣ１２３",
    "東京タワーへ行きたいんだけど、Wi-Fiはありますか？",
    "작은 배가 비가 그칠 때까지 다리 아래에서 기다립니다.",
    "비밀번호를 잊어버렸어요. 어떻게 재설정하나요?",
    "\u1100\u1161\u11a8 \u1112\u1161\u11ab\u1100\u1173\u11af 자모 ㄱㄴㄷ ㅏㅑㅓ",
    "\U00020000\U0002a6d6 \u3400 \uf900 \ufa0e \U0002f800 㐀㐁 〇々〆〤",
    "ㄅㄆㄇㄈ 注音符號",
    # Caucasus, Africa, America, historic
    "პატარა ნავი ხიდის ქვეშ ელოდება, სანამ წვიმა გადაიღებს.",
    "ᲡᲐᲥᲐᲠᲗᲕᲔᲚᲝ და Ⴀⴀ ასომთავრული",
    "Փոքրիկ նավակը սպասում է կամրջի տակ, մինչև անձրևը դադարի։ ԵՎ և",
    "ትንሿ ጀልባ ዝናቡ እስኪያቆም ድረስ በድልድዩ ስር ትጠብቃለች።",
    "ᏣᎳᎩ ᎦᏬᏂᎯᏍᏗ ꮳꮃꭹ",
    "ᐃᓄᒃᑎᑐᑦ ᐅᖃᓕᒫᒐᖅ",
    "ⵜⴰⵎⴰⵣⵉⵖⵜ ⴰⵡⴰⵍ",
    "ᚠᚢᚦᚨᚱᚲ ᛫ ᚷᚹᚺᚾᛁᛃ",
    "\U00010330\U00010331\U00010332 \U00010400\U00010428\U00010401",
    "\U00012000\U00012001 \U00013000\U00013001",
]

# One property a text.
CASES = [
    "",
    " ",
    "\n\t \r\n",
    "a",
    "A",
    ".",
    "!?",
    "...,,,;;;:::---___",
    "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~",
    "¿¡«»„“”‘’‚…—–‐‑‒―‖†‡•‰′″‹›※‼⁇⁈",
    "、。〃〈〉《》「」『』【】〔〕〜〝〞・ー，．：；？！（）",
    "؛؟٪٫٬٭۔।॥๏๚๛།༎፠፡።᠀᠁",
    "$ € £ ¥ ₹ ₽ ₿ ¢ ₩ ₪ ฿ ₫",
    "© ® ™ ± × ÷ ¬ ¦ § ¶ µ º ª ¹²³ ¼½¾ ° ¨ ¯ ´ ¸",
    "∀x∈ℝ: ⌈x⌉ = −⌊−x⌋, α ∧ ¬β ⇒ γ; ∑ᵢ xᵢ² ≤ ∫ƒ dx ≈ π√2 ≠ ∞",
    "→ ← ↔ ⇄ ■ □ ▲ ● ◯ ★ ☆ ♠ ♣ ♥ ♦ ♪ ♫ ✓ ✗ ✂ ☎",
    "┌─┬─┐ │ ░▒▓█ └─┴─┘ ⠁⠂⠃",
    # White space of every kind
    "no\u00a0break and\u202fnarrow\u2007figure",
    "ideographic\u3000space\u3000here",
    "tab\tnew\nline\rreturn\r\nboth\x0bvertical\x0cform",
    "en\u2000em\u2001en\u2002em\u2003three\u2004four\u2005six\u2006punct\u2008thin\u2009hair\u200aend",
    "ogham\u1680mark math\u205fspace line\u2028separator paragraph\u2029end next\u0085line",
    "   leading and trailing   ",
    "many      spaces\t\t\tand\n\n\ntabs",
    # Invisible: joiners, marks, byte order mark, soft hyphen
    "zero\u200bwidth\u200cnon\u200djoiner\u2060word",
    "\ufeffbyte order mark \ufeff inside\ufeff",
    "soft\u00adhyphen\u00ad at the end\u00ad",
    "left\u200eto\u200fright \u202aembed\u202c \u202eoverride\u202c \u2066isolate\u2069",
    "\u034fgrapheme\u034fjoiner \u180emongolian\u180evowel \u061cletter mark",
    "tag\U000e0061\U000e0062\U000e007f variation\ufe00\ufe0f selector\U000e0100",
    # Controls, unassigned, private, replacement
    "nul\x00inside and \x00 alone",
    "\x01\x02\x03 bell\x07 back\x08space escape\x1b[31mred\x1b[0m del\x7fete",
    "c1\x80\x81\x9f controls",
    "replacement \ufffd character \ufffd\ufffd",
    "\ufffd",
    "\x00",
    "private \ue000\uf8ff \U000f0000 \U0010fffd use",
    "noncharacter \ufffe\uffff \ufdd0 \U0001ffff \U0010ffff",
    "unassigned \u0378\u0379 \U000e0fff",
    # Combining marks, decomposed and stacked
    "cafe\u0301 e\u0301cole Zu\u0308rich a\u030angstro\u0308m",
    "caf\u00e9 \u00e9cole Z\u00fcrich \u00e5ngstr\u00f6m \u212bngstrom \u2126hm \u212aelvin",
    "Z\u0335\u030d\u0352a\u0334\u0310\u0322l\u0338\u0346g\u0337\u0301o\u0336\u0327 comes",
    "\u0301\u0302\u0303 marks alone \u0301",
    "a\u20dd b\u20e3 c\u0489 d\u1dc4 e\ufe20f\ufe21",
    "x\u0305\u0306\u0307\u0308\u0309\u030a\u030b\u030c\u030d\u030e\u030f",
    "\u1ea5 a\u0302\u0301 \u0061\u0301\u0302 \u1e69 s\u0323\u0307 s\u0307\u0323",
    # Case mapping beyond ASCII
    "İ I ı i İSTANBUL DİYARBAKIR",
    "ǅ Ǆ ǆ Ǉ ǈ ǉ ﬁ ﬂ ﬀ ﬃ ﬅ ﬆ ŉ ǰ ΐ ẖ",
    "ΑΣ ΑΣΑ Σ ΣΣ ΌΣΟΣ",
    "Ⅷ ⅷ Ⓐ ⓐ Ａ ａ 𝐀𝐚 𝔄𝔞 𝟘𝟙 🄰 🅰",
    "K\u212a \u1e9e\u00df \u2c2f \ua640 \u10a0\u2d00 \u13a0\uab70",
    # Emoji
    "I ❤️ pizza 🍕 and 🚲!",
    "👨‍👩‍👧‍👦 family, 👩🏽‍🚀 astronaut, 🏳️‍🌈 flag, 🏴‍☠️ pirate",
    "🇩🇪🇯🇵🇧🇷 flags, 🏴\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f Scotland",
    "1️⃣ #️⃣ *️⃣ keycaps ☎︎ text ☎️ emoji",
    "👍🏻👍🏼👍🏽👍🏾👍🏿",
    "😀😃😄😁😆😅😂🤣",
    "😀",
    "🧑\u200d🤝\u200d🧑 🫠🫨🪿 🙂\u200d↔️",
    # The tokenizer's own marks in the text
    "[CLS] is not [SEP] and [MASK] is [PAD] or [UNK]",
    "[mask] [cls] [ MASK ] [MASK",
    "the[MASK]middle of[SEP]words",
    "##ing ## un##break ##able",
    # Web, code, numbers
    "https://example.org/a/b?q=1&r=%20x#top and http://localhost:8080/v2/models",
    "Mail first.last+tag@mail.example.co.uk, @handle #hashtag #1",
    "SELECT * FROM users WHERE id = 42; -- DROP TABLE users",
    "fn main() { println!(\"{:?}\", vec![1u8; 3]); } // ok",
    "{\"name\": \"x\", \"values\": [1, 2.5e-3, null, true]}",
    "<p class='a'>Tom &amp; Jerry &#39;95</p>",
    "3.14159 1,234,567.89 -40 +7 1e9 0xDEADBEEF 1/2 50% 12:34:56 2024-02-29",
    "v1.2.3-rc.4+build.5 ISO-8859-1 UTF-8 COVID-19 B2B C++ C# .NET R&D AT&T",
    "٠١٢٣٤٥٦٧٨٩ ०१२३ ๐๑๒ 一二三 Ⅻ ① ⑳ ㊙ ㍿ ½",
    "/usr/local/bin/python3.11 C:\\Users\\Öl\\Desktop\\file.txt",
    "snake_case camelCase PascalCase kebab-case SCREAMING_SNAKE",
    # Words at and around the limit of 100 characters
    "a" * 99,
    "a" * 100,
    "a" * 101,
    "b" * 500,
    "start " + "antidis" * 20 + " end",
    "é" * 100,
    "é" * 101,
    "e\u0301" * 60,
    "e\u0301" * 101,
    "字" * 120,
    "x" * 50 + "\u200b" + "y" * 51,
    "x" * 60 + "-" + "y" * 60,
    "😀" * 101,
    "ab" * 3000,
    "." * 600,
]

# Words that the vocabulary holds whole: n of them make n + 2 tokens.
WORDS = (
    "time river stone light water house green early small bridge music letter winter garden "
    "market silver number paper school window morning machine story center forest summer "
    "market simple public record island energy family animal second person moment system"
).split()

# Totals with [CLS] and [SEP]; those above 512 test truncation.
LENGTHS = [
    *range(3, 35), 40, 47, 48, 49, 55, 63, 64, 65, 72, 80, 95, 96, 97, 110, 127, 128, 129, 144,
    160, 191, 192, 193, 224, 255, 256, 257, 288, 320, 352, 383, 384, 385, 416, 448, 480, 500, 510,
    511, 512, 513, 514, 600, 1100,
]  # fmt: skip

# Blocks for texts of random code points, as (first, last).
BLOCKS = [
    (0x20, 0x7E), (0xA0, 0x17F), (0x180, 0x24F), (0x250, 0x2FF), (0x300, 0x36F), (0x370, 0x3FF),
    (0x400, 0x52F), (0x530, 0x58F), (0x590, 0x6FF), (0x700, 0x8FF), (0x900, 0xDFF), (0xE00, 0xFFF),
    (0x1000, 0x13FF), (0x1400, 0x18AF), (0x1A00, 0x1CFF), (0x1D00, 0x1DFF), (0x1E00, 0x1FFF),
    (0x2000, 0x206F), (0x2070, 0x218F), (0x2190, 0x2BFF), (0x2C00, 0x2DFF), (0x2E00, 0x2FFF),
    (0x3000, 0x33FF), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xA000, 0xABFF), (0xAC00, 0xD7A3),
    (0xE000, 0xF8FF), (0xF900, 0xFAFF), (0xFB00, 0xFEFF), (0xFF00, 0xFFFF), (0x10000, 0x107FF),
    (0x10800, 0x10FFF), (0x11000, 0x11FFF), (0x12000, 0x16FFF), (0x17000, 0x1CFFF),
    (0x1D000, 0x1D7FF), (0x1D800, 0x1EFFF), (0x1F000, 0x1FAFF), (0x20000, 0x2FA1F),
    (0xE0000, 0xE01EF), (0x0, 0x1F),
]  # fmt: skip


class Sequence:
    """A linear congruential sequence (constants of Knuth's MMIX): the same on every Python."""

    def __init__(self, seed):
        self.state = seed

    def below(self, bound):
        self.state = (self.state * 6364136223846793005 + 1442695040888963407) % 2**64
        return (self.state >> 33) % bound

    def pick(self, items):
        return items[self.below(len(items))]


def of_length(tokens, sequence):
    return " ".join(sequence.pick(WORDS) for _ in range(tokens - 2))


def mixed(sequence):
    """A few sentences of different languages, some upper-case, glued in odd ways."""
    text = ""
    for _ in range(2 + sequence.below(5)):
        sentence = sequence.pick(SENTENCES)
        sentence = sentence.upper() if sequence.below(4) == 0 else sentence
        text += sentence + sequence.pick([" ", "", "\n", "\u00a0", " 🙂 ", "\u3000", " - "])
    return text


def scattered(sequence):
    """Random code points of a few blocks, with spaces, so that every class of them meets."""
    blocks = [sequence.pick(BLOCKS) for _ in range(3)]
    characters = []
    for _ in range(20 + sequence.below(60)):
        first, last = sequence.pick(blocks)
        characters.append(chr(first + sequence.below(last - first + 1)))
        if sequence.below(4) == 0:
            characters.append(" ")
    return "".join(characters)


def texts():
    sequence = Sequence(1)
    made = [of_length(tokens, sequence) for tokens in LENGTHS]
    made += [mixed(sequence) for _ in range(40)]
    made += [scattered(sequence) for _ in range(50)]
    return SENTENCES + CASES + made
