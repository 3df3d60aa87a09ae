//! Generated books: for each part a few choices, so that two of them are often comparable.

use alloy_primitives::Address;
use proptest::prelude::*;

use super::wishes::{
    LIBRARY, MULTICALL3, MULTISEND, NFT, ORDER, PAYEES, PERMIT, POOL, SAFE, USD, WALLET, WETH,
};

/// What the registry says: the same in all books but for what [`CHOICES`] adds.
fn registry() -> String {
    let token = |name: &str, kind: &str, at: Address, decimals: &str| {
        format!(
            "[asset.{name}]\nkind = \"{kind}\"\nchain = \"main\"\naddress = \"{at:#x}\"\n{decimals}"
        )
    };
    let contract = |name: &str, at: Address, kind: &str| {
        format!("[contract.{name}]\nchain = \"main\"\naddress = \"{at:#x}\"\n{kind}")
    };
    let [one, two, three] = PAYEES;
    [
        "version = 1\n[chain.main]\nid = 1\nnative = \"ETH\"\n".to_owned(),
        token("USD-A", "erc20", USD, "decimals = 0\n"),
        token("WETH", "wrapped-native", WETH, "decimals = 18\n"),
        token("NFT", "erc721", NFT, ""),
        contract("pool", POOL, ""),
        contract("safe", SAFE, "kind = \"safe\"\n"),
        contract("multisend", MULTISEND, "kind = \"multisend\"\n"),
        contract("multicall3", MULTICALL3, "kind = \"multicall3\"\n"),
        contract("library", LIBRARY, ""),
        contract("wallet", WALLET, ""),
        format!(
            "[list]\nfew = [\"{one:#x}\"]\nmore = [\"{one:#x}\", \"{two:#x}\", \"{three:#x}\"]\n"
        ),
        "[group]\nsec = [\"dave\", \"erin\", \"fay\"]\n".to_owned(),
        "[caller.a]\nowners = [\"zed\"]\n[caller.b]\nowners = [\"zed\"]\n".to_owned(),
        "[key.cold]\ncallers = [\"b\"]\nchains = [\"main\"]\n\
         rate = { per_caller = \"1/s\", per_key = \"1/s\", parked = 0 }\n"
            .to_owned(),
        "[key.hot]\nchains = [\"main\"]\n".to_owned(),
    ]
    .concat()
}

/// The registry with one thing that it says otherwise, or does not say.
fn registry_with(change: &str) -> String {
    let whole = registry();
    let without = |head: &str| {
        let at = whole.find(head).unwrap();
        let end = whole[at + 1..].find("\n[").map_or(whole.len(), |end| at + end + 2);
        format!("{}{}", &whole[..at], &whole[end..])
    };
    let side = |coin: &str| {
        let chain = format!("[chain.side]\nid = 2\nnative = \"{coin}\"\n[chain.main]");
        whole.replace("[chain.main]", &chain)
    };
    match change {
        "REG l1" => whole.replace("id = 1\n", "id = 1\nl1_fee = \"0.1 ETH\"\n"),
        "REG l1b" => whole.replace("id = 1\n", "id = 1\nl1_fee = \"0.2 ETH\"\n"),
        "REG nolib" => without("[contract.library]"),
        "REG nonft" => without("[asset.NFT]"),
        "REG noweth" => without("[asset.WETH]"),
        "REG side" => side("ETH"),
        "REG sideb" => side("BNB"),
        "REG owners" => whole.replacen("owners = [\"zed\"]", "owners = [\"zed\", \"dave\"]", 1),
        "REG group" => whole.replace("[\"dave\", \"erin\", \"fay\"]", "[\"dave\", \"erin\"]"),
        "REG nft1155" => whole.replace("erc721", "erc1155"),
        _ => whole,
    }
}

/// Each part of a book, in the order of its text, and what may stand there.
pub(crate) const CHOICES: &[&[&str]] = &[
    &["callers = [\"a\", \"b\"]\n", "callers = [\"a\"]\n"],
    &[
        "native = { to = \"@few\", per_tx = \"5 ETH\", window = \"10 ETH / 24h\" }\n",
        "native = { to = \"@more\", per_tx = \"5 ETH\", window = \"10 ETH / 24h\" }\n",
        "native = { to = \"@more\", per_tx = \"8 ETH\", window = [\"10 ETH / 24h\", \
         \"6 ETH / 1h\"], lifetime = \"20 ETH\" }\n",
        "native = { to = \"@more\", per_tx = \"8 ETH\", window = \"unlimited\", \
         unsettled = \"9 ETH\" }\n",
        "native = { to = \"@more\", per_tx = \"8 ETH\", window = \"unlimited\", \
         unsettled = \"4 ETH\" }\n",
        "native = { to = \"anyone\", per_tx = \"8 ETH\", window = \"unlimited\" }\n",
        "",
    ],
    &[
        "fees = { per_tx = \"1 ETH\", window = \"2 ETH / 24h\", max_priority_fee = \"5 gwei\", \
         counts_as = \"native\" }\n",
        "fees = { per_tx = \"1 ETH\", window = \"0.5 ETH / 24h\", max_priority_fee = \"5 gwei\", \
         counts_as = \"native\" }\n",
        "fees = { per_tx = \"1 ETH\", window = \"unlimited\", max_priority_fee = \"5 gwei\", \
         counts_as = \"native\" }\n",
    ],
    &[
        "token.USD-A = { to = \"@few\", per_tx = \"8 USD-A\", window = \"12 USD-A / 24h\" }\n",
        "token.USD-A = { to = \"@more\", per_tx = \"8 USD-A\", window = \"12 USD-A / 24h\", \
         allowance = { spender = \"@pool\", per_tx = \"8 USD-A\" } }\n",
        "token.USD-A = { to = \"@more\", per_tx = \"8 USD-A\", window = \"unlimited\", \
         allowance = { spender = \"@pool\", per_tx = \"8 USD-A\", outstanding = \"9 USD-A\" } }\n",
        "token.USD-A = { to = \"@more\", per_tx = \"8 USD-A\", window = \"unlimited\", \
         unsettled = \"9 USD-A\", allowance = { spender = \"@pool\", per_tx = \"8 USD-A\", \
         outstanding = \"5 USD-A\" } }\n",
        "",
    ],
    &[
        "token.WETH = { to = \"@few\", per_tx = \"5 WETH\", window = \"9 WETH / 24h\" }\n",
        "token.WETH = { to = \"@few\", per_tx = \"5 WETH\", window = \"9 WETH / 24h\", \
         convert = \"allowed\" }\n",
        "",
    ],
    &[
        "token.NFT = { to = \"@few\", per_tx = \"1 NFT\", window = \"2 NFT / 24h\" }\n",
        "token.NFT = { to = \"@few\", per_tx = \"unlimited\", window = \"unlimited\", \
         operator = \"@pool\" }\n",
        "token.NFT = { to = \"@few\", per_tx = \"1 NFT\", window = \"2 NFT / 24h\", \
         operator = \"@pool\" }\n",
        "",
    ],
    &[
        "via = [\"@multicall3\", \"@safe\", \"@multisend\"]\n",
        "via = [\"@multicall3\"]\n",
        "via = [\"@safe\"]\n",
        "",
    ],
    &["delegatecall = [\"@library\"]\n", ""],
    &[
        "authorize = { to = \"@wallet\", need = \"1 of sec\", expires = \"30m\" }\n",
        "authorize = { to = \"@wallet\", need = \"2 of sec\", expires = \"30m\" }\n",
        "authorize = { to = [\"@wallet\", \"@library\"], need = \"1 of sec\", expires = \"1h\" }\n",
        "",
    ],
    &[
        "approve = []\n",
        "approve = [{ above = [\"1 ETH\"], need = \"1 of sec\", expires = \"1h\" }]\n",
        "approve = [{ above = [\"1 ETH\"], need = \"2 of sec\", expires = \"1h\" }]\n",
        "approve = [{ first_payment = \"asks\", need = \"1 of sec\", expires = \"1h\" }]\n",
        "approve = [{ above = [\"1 ETH\"], need = \"1 of sec\", expires = \"1h\" }, { \
         first_payment = \"asks\", need = \"1 of sec\", expires = \"1h\" }]\n",
    ],
    &["", "cooling = \"1h\"\n", "cooling = \"2h\"\n"],
    &["", "deny = [\"delegatecall\"]\n", "deny = [\"eip7702\", \"unlimited-allowance\"]\n"],
    &[
        "rate = { per_caller = \"9/s\", per_key = \"9/s\", parked = 99 }\n",
        "rate = { per_caller = \"9/s\", per_key = \"9/s\", parked = 99, nonce_ahead = 4 }\n",
        "rate = { per_caller = \"9/s\", per_key = \"9/s\", parked = 99, nonce_ahead = 8 }\n",
    ],
    &["", "CALL \"any\"", "CALL { a = \"<= 5\" }", "CALL { a = \"<= 8\" }"],
    &[
        "",
        "PAYALL { to = \"@few\", amount = \"<= 5\" }",
        "PAYALL { to = \"@more\", amount = \"<= 8\" }",
    ],
    &[
        "",
        "PERMIT { owner = \"self\", spender = \"@pool\", value = \"any\", nonce = \"any\", \
         deadline = \"<= now + 15m\" }",
        "PERMIT { owner = \"self\", spender = \"@pool\", value = \"<= 5 USD-A\", \
         nonce = \"any\", deadline = \"<= now + 15m\" }",
        "PERMIT { owner = \"self\", spender = \"@pool\", value = \"<= 5 USD-A\", \
         nonce = \"any\", deadline = \"<= now + 2h\" }",
    ],
    &[
        "",
        "ORDER { maker = \"self\", amount = \"<= 5\", deadline = \"<= now + 15m\" }",
        "ORDER { maker = \"self\", amount = \"<= 8\", deadline = \"any\" }\nendless = \"allowed\"",
    ],
    &[
        "",
        "MESSAGE [\"one.example\"]\nexpires = \"1h\"\n",
        "MESSAGE [\"one.example\", \"two.example\"]\nexpires = \"1h\"\n",
        "MESSAGE [\"one.example\"]\nexpires = \"2h\"\n",
    ],
    &["", "ALL KEYS window = \"6 ETH / 24h\"\n", "ALL KEYS window = \"12 ETH / 2h\"\n"],
    &[
        "",
        "CALLER KEYS window = \"6 ETH / 24h\"\n",
        "CALLER KEYS window = \"9 ETH / 24h\"\nlifetime = \"12 ETH\"\n",
        "ALL2 KEYS window = \"9 ETH / 24h\"\n",
    ],
    &["", "TO KEYS window = \"4 ETH / 24h\"\n", "TO KEYS window = \"8 ETH / 24h\"\n"],
    &["", "COUNT KEYS window = \"3 requests / 1h\"\n", "COUNT KEYS window = \"6 requests / 1h\"\n"],
    &["", "FEES KEYS window = \"0.2 ETH / 24h\"\n", "FEES KEYS window = \"1 ETH / 24h\"\n"],
    &[
        "",
        "WORTH KEYS window = \"9_000 USD / 24h\"\n[prices]\nstale = \"1h\"\npercent_a_day = 20\n",
        "WORTH KEYS window = \"9_000 USD / 24h\"\n[prices]\nstale = \"2h\"\npercent_a_day = 20\n",
        "WORTH KEYS window = \"5_000 USD / 24h\"\n[prices]\nstale = \"2h\"\npercent_a_day = 50\n",
        "TW KEYS window = \"4_000 USD / 24h\"\n[prices]\nstale = \"2h\"\npercent_a_day = 20\n",
        "TW KEYS window = \"3_000 USD / 24h\"\n[prices]\nstale = \"1h\"\npercent_a_day = 20\n",
        "CW KEYS window = \"6_000 USD / 24h\"\n[prices]\nstale = \"2h\"\npercent_a_day = 20\n",
    ],
    // The same, of what else can be counted, and apart.
    &[
        "",
        "CREQ KEYS window = \"3 requests / 1h\"\n",
        "CREQ KEYS window = \"4 requests / 24h\"\n",
        "TREQ KEYS window = \"2 requests / 24h\"\n",
        "TREQ KEYS window = \"3 requests / 24h\"\n",
    ],
    &[
        "",
        "TUSD KEYS window = \"4 USD-A / 24h\"\n",
        "AUSD KEYS window = \"4 USD-A / 24h\"\n",
        "CUSD KEYS window = \"6 USD-A / 24h\"\nlifetime = \"9 USD-A\"\n",
        "AUSD KEYS lifetime = \"9 USD-A\"\n",
    ],
    // What the registry says otherwise: see [`registry_with`].
    &[
        "REG none",
        "REG l1",
        "REG l1b",
        "REG nolib",
        "REG nonft",
        "REG noweth",
        "REG side",
        "REG sideb",
        "REG owners",
        "REG group",
        "REG nft1155",
    ],
    // Which keys those limits sum over.
    &["\"hot\"", "\"hot\", \"cold\""],
];

/// A book: of each part, which.
#[derive(Clone, Debug)]
pub(crate) struct Chosen(pub(crate) Vec<usize>);

impl Chosen {
    pub(crate) fn text(&self) -> String {
        let mut words = self.0.iter().zip(CHOICES).map(|(one, all)| all[*one % all.len()]);
        let keys = words.next_back().unwrap();
        let limit = |name: &str, asset: &str, per: &str| {
            format!("[limit.{name}]\nkeys = [{keys}]\nasset = \"{asset}\"\n{per}")
        };
        let parts: Vec<String> = words
            .map(|word| {
                let (head, rest) = word.split_once(' ').unwrap_or((word, ""));
                let rest = rest.strip_prefix("KEYS ").unwrap_or(rest);
                let head = match head {
                    "CALL" => "[[key.hot.call]]\ncontract = \"@pool\"\n\
                     function = \"f(uint256 a)\"\nwhere = "
                        .to_owned(),
                    "PAYALL" => {
                        let function = "payAll((address to, uint256 amount)[] orders)";
                        let rule = format!(
                            "[[key.hot.call]]\ncontract = \"@pool\"\n\
                        function = \"{function}\"\n"
                        );
                        return format!(
                            "{rule}where = {{ orders = {{ each = {rest}, \
                        most = 2 }} }}\n"
                        );
                    }
                    "PERMIT" => format!(
                        "[[key.hot.typed]]\ndomain = {{ name = \"USD\", chain = \"main\", \
                         contract = \"@USD-A\" }}\n\
                         type = \"{PERMIT}\"\nwhere = "
                    ),
                    "ORDER" => format!(
                        "[[key.hot.typed]]\ndomain = {{ name = \"Pool\", chain = \"main\", \
                         contract = \"@pool\" }}\n\
                         type = \"{ORDER}\"\nwhere = "
                    ),
                    "MESSAGE" => "[[key.hot.message]]\ntemplate = \"eip4361\"\n\
                     domains = "
                        .to_owned(),
                    "ALL" => limit("all", "ETH", ""),
                    "ALL2" => limit("all-too", "ETH", ""),
                    "CALLER" => limit("caller", "ETH", "per = \"caller\"\n"),
                    "TO" => limit("to", "ETH", "per = \"recipient\"\n"),
                    "COUNT" => limit("count", "requests", ""),
                    "FEES" => limit("fees", "ETH fees", ""),
                    "WORTH" => limit("worth", "USD", ""),
                    "CREQ" => limit("creq", "requests", "per = \"caller\"\n"),
                    "TREQ" => limit("treq", "requests", "per = \"recipient\"\n"),
                    "TUSD" => limit("tusd", "USD-A", "per = \"recipient\"\n"),
                    "AUSD" => limit("ausd", "USD-A", ""),
                    "CUSD" => limit("cusd", "USD-A", "per = \"caller\"\n"),
                    "TW" => limit("tw", "USD", "per = \"recipient\"\n"),
                    "CW" => limit("cw", "USD", "per = \"caller\"\n"),
                    "REG" => return String::new(),
                    _ => return word.to_owned(),
                };
                format!("{head}{rest}\n")
            })
            .collect();
        let at = CHOICES.len() - 2;
        let change = CHOICES[at][self.0[at] % CHOICES[at].len()];
        format!("{}{}", registry_with(change), parts.concat())
    }
}

/// Half of the parts as in the widest book, so that much is signed and limits are met.
pub(crate) fn chosen() -> impl Strategy<Value = Chosen> {
    let parts = prop::collection::vec((0_usize..60, any::<bool>()), CHOICES.len());
    parts.prop_map(|parts| {
        let pairs = parts.into_iter().zip(wide().0);
        Chosen(pairs.map(|((one, keep), wide)| if keep { wide } else { one }).collect())
    })
}

/// The same but for a few parts: near enough to be comparable.
pub(crate) fn near(book: &Chosen, changes: &[(usize, usize)]) -> Chosen {
    let mut other = book.clone();
    for (part, choice) in changes {
        other.0[part % CHOICES.len()] = *choice;
    }
    other
}

/// Other choices for a few parts: more often for what the registry says, coins and what is counted.
pub(crate) fn changes() -> impl Strategy<Value = Vec<(usize, usize)>> {
    let all = CHOICES.len();
    let part = prop_oneof![
        3 => 0..all,
        2 => Just(all - 2),
        2 => Just(1),
        2 => (all - 5)..(all - 2),
        1 => Just(3),
    ];
    prop::collection::vec((part, 0_usize..60), 1..3)
}

/// A book that lets everything through that some book does.
pub(crate) fn wide() -> Chosen {
    let mut wide = Chosen(vec![0; CHOICES.len()]);
    for (part, choice) in
        [(1, 5), (2, 2), (3, 1), (4, 1), (5, 1), (13, 1), (14, 2), (15, 1), (16, 2), (17, 2)]
    {
        wide.0[part] = choice;
    }
    wide
}
