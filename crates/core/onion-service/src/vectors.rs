//! Vectors of docs/spec/onion-service.md, made by an independent implementation (Python, `hashlib`, `hmac` and `cryptography`).

use data_encoding::HEXLOWER;

/// Keys and their addresses.
pub(crate) const ADDRESSES: [([u8; 32], &str); 2] = [
    ([0; 32], "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaiaiyb.hush"),
    ([7; 32], "a4dqobyha4dqobyha4dqobyha4dqobyha4dqobyha4dqobyha4d6fhqb.hush"),
];

/// Seed, public key, factor, and what blinding makes of them: secret scalar, nonce key, public key. From Tor's `ed25519_vectors.inc`.
pub(crate) const TOR_BLINDING: [[&str; 6]; 4] = [
    [
        "26c76712d89d906e6672dafa614c42e5cb1caac8c6568e4d2493087db51f0d36",
        "c2247870536a192d142d056abefca68d6193158e7c1a59c1654c954eccaff894",
        "54a513898b471d1d448a2f3c55c1de2c0ef718c447b04497eeb999ed32027823",
        "293c3acff4e902f6f63ddc5d5caa2a57e771db4f24de65d4c28df3232f47fa01",
        "171d43f24e3f53e70ec7ac280044ac77d4942dee5d6807118a59bdf3ee647e89",
        "1fc1fa4465bd9d4956fdbdc9d3acb3c7019bb8d5606b951c2e1dfe0b42eaeb41",
    ],
    [
        "fba7a5366b5cb98c2667a18783f5cf8f4f8d1a2ce939ad22a6e685edde85128d",
        "1519a3b15816a1aafab0b213892026ebf5c0dc232c58b21088d88cb90e9b940d",
        "831e9b5325b5d31b7ae6197e9c7a7baf2ec361e08248bce055908971047a2347",
        "38b88f9f9440358da544504ee152fb475528f7c51c285bd1c68b14ade8e29a07",
        "b8ceff20dfcf53eb52b891fc078c934efbf0353af7242e7dc51bb32a093afa29",
        "1cbbd4a88ce8f165447f159d9f628ada18674158c4f7c5ead44ce8eb0fa6eb7e",
    ],
    [
        "d51385942033a76dc17f089a59e6a5a7fe80d9c526ae8ddd8c3a506b99d3d0a6",
        "73cfa1189a723aad7966137cbffa35140bb40d7e16eae4c40b79b5f0360dd65a",
        "f9c84dc0ac31571507993df94da1b3d28684a12ad14e67d0a068aba5c53019fc",
        "51d7db01aaa0d937a9fd7c8c7381445a14d8fa61f43347af5460d7cd8fda9904",
        "509ecee77082ce088f7c19d5a00e955eeef8df6fa41686abc1030c2d76807733",
        "3e08d0dc291066272e313014bfac4d39ad84aa93c038478a58011f431648105f",
    ],
    [
        "c6bbcce615839756aed2cc78b1de13884dd3618f48367a17597a16c1cd7a290b",
        "95126f14d86494020665face03f2d42ee2b312a85bc729903eb17522954a1c4a",
        "1111111111111111111111111111111111111111111111111111111111111111",
        "2cf7ed8b163f5af960d2fc62e1883aa422a6090736b4f18a5456ddcaf78ede0c",
        "053d9c00c81e1331c06ab50087be8cfc7dc11691b132614474f1aa9c2503cccd",
        "952a908a4a9e0e5176a2549f8f328955aca6817a9fdc59e3acec5dec50838108",
    ],
];

/// Bytes as the page shows them.
pub(crate) fn hex(bytes: &[u8]) -> String {
    HEXLOWER.encode(bytes)
}
