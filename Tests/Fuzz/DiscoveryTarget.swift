import LanfsProtocol

extension Target {
    /// Datagrams from anybody on the network.
    static let discovery = Target(
        name: "discovery",
        seeds: {
            [
                DiscoveryQuery(nonce: 1, need: 2, volumeToken: 3).encoded,
                DiscoveryAnswer(
                    nonce: 1, server: sampleID(2), port: 3, capacity: 4, free: 5, holdsVolume: true, name: "büro"
                ).encoded,
            ]
        },
        run: { bytes in
            if let query = try? DiscoveryQuery(encoded: bytes) {
                require((try? DiscoveryQuery(encoded: query.encoded)) == query, "a query changed on the way")
            }
            if let answer = try? DiscoveryAnswer(encoded: bytes) {
                require(answer.encoded == bytes, "an answer changed on the way")
                require(bytes.count <= Discovery.querySize, "an answer longer than its query")
            }
        })
}
