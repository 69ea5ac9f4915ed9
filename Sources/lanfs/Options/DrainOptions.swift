/// `lanfs drain`: take a server out of the volume.
struct DrainOptions: Equatable, Sendable {
    var client = ClientOptions()
    /// As a person names it.
    var server = ""
    /// Back into the volume.
    var cancel = false
    var json = false

    static let cancelFlag = Flag(
        "cancel", help: "take the server back into the volume",
        manual: "Take a server that is being drained back into the volume, as if nothing had been. One that has left "
            + "cannot be taken back.")

    static let command = Command(
        name: "drain", summary: "take a server out of the volume",
        overview: """
            Have the other servers take over what SERVER holds, and take it out of the volume when all of it is proven \
            to be elsewhere. SERVER is its name, its address or its fingerprint, as 'lanfs status' shows them. It may be \
            interrupted; the same command goes on.
            """,
        operands: [.init(metavar: "SERVER", count: .one, completion: .host)],
        options: [cancelFlag.row, CommonOptions.json.row] + ClientOptions.rows + CommonOptions.rows,
        examples: [
            .init(line: "lanfs drain attic", meaning: "the server of that name"),
            .init(line: "lanfs drain 10.0.0.7", meaning: "the one at this address"),
            .init(line: "lanfs drain --cancel attic", meaning: "it stays after all"),
        ])

    init() {}

    init(_ parsed: ParsedArguments) throws(UsageError) {
        client = try ClientOptions(parsed)
        cancel = parsed.isSet(Self.cancelFlag)
        json = parsed.isSet(CommonOptions.json)
        let word: ServerWord = try parsed.operand(0, "SERVER")
        server = word.text
    }
}
