/// `lanfs status`: how the volume's servers are.
struct StatusOptions: Equatable, Sendable {
    var client = ClientOptions()
    var json = false
    /// Again and again, until it is interrupted.
    var watch = false

    static let watchFlag = Flag(
        "watch", "w", help: "show it again every two seconds",
        manual: "Show it again every two seconds, until interrupted. On a terminal the screen is redrawn; elsewhere, and "
            + "with `--json`, one state follows the other.")

    static let command = Command(
        name: "status", summary: "show how the volume and its servers are",
        overview: """
            Ask every server of the volume how it is, and show whether all copies are there, what is being repaired, and \
            whether the volume can be written to. Nothing has to be mounted, and no mount is disturbed.
            """,
        operands: [],
        options: [watchFlag.row, CommonOptions.json.row] + ClientOptions.rows + CommonOptions.rows,
        examples: [
            .init(line: "lanfs status", meaning: "once"),
            .init(line: "lanfs status -w", meaning: "while something is repaired"),
            .init(line: "lanfs status --json | jq .writable", meaning: "for a program"),
        ])

    init() {}

    init(_ parsed: ParsedArguments) throws(UsageError) {
        client = try ClientOptions(parsed)
        json = parsed.isSet(CommonOptions.json)
        watch = parsed.isSet(Self.watchFlag)
    }
}
