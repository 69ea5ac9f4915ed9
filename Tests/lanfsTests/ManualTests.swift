import Testing

@testable import lanfs

@Suite("Manual pages")
struct ManualTests {
    static let pages = ["lanfs"] + Subcommand.allCases.map { "lanfs-\($0.rawValue)" }

    private func texts(_ page: String) -> [(name: String, text: String)] {
        guard let subcommand = Subcommand.allCases.first(where: { page == "lanfs-\($0.rawValue)" }) else {
            return [("COMMANDS", ManualText.commands()), ("EXIT STATUS", ManualText.exitStatus())]
        }
        var texts = [
            ("SYNOPSIS", ManualText.synopsis(subcommand.command)), ("OPTIONS", ManualText.options(subcommand.command)),
        ]
        if subcommand == .mount {
            texts.append(("HELPER SYNOPSIS", ManualText.synopsis(MountHelper.command)))
            texts.append(("MOUNT OPTIONS", ManualText.mountWords()))
        }
        return texts
    }

    @Test("the generated parts of each page are what the command tables make of them", arguments: pages)
    func partsMatchTables(page: String) throws {
        let name = "man/\(page).1"
        try GeneratedFile.check(name, equals: try ManualText.fill(try GeneratedFile.read(name), texts(page)))
    }

    @Test("each page carries the program's version", arguments: pages)
    func pagesCarryVersion(page: String) throws {
        #expect(try GeneratedFile.read("man/\(page).1").contains(".Os \"lanfs \(Version.text)\"\n"))
    }

    @Test("mandoc finds nothing to criticise", .enabled(if: isInstalled("mandoc")), arguments: pages)
    func mandocIsContent(page: String) throws {
        // Which of the pages referred to are installed here is no matter; the system named at the foot is lanfs.
        let noise = "referenced manual not found\\|outdated mandoc.db\\|operating system explicitly"
        let lint = try shell("mandoc -T lint \(GeneratedFile.path("man/\(page).1")) 2>&1 | grep -v '\(noise)' || true")
        #expect(lint.output == "")
    }

    @Test("each page fits into 80 columns", .enabled(if: isInstalled("mandoc")), arguments: pages)
    func pagesFit(page: String) throws {
        let text = try shell("mandoc -T ascii -O width=80 \(GeneratedFile.path("man/\(page).1")) | col -b").output
        #expect(text.count > 1000)
        for line in text.split(separator: "\n") { #expect(line.count <= 80, "\(line)") }
    }
}
