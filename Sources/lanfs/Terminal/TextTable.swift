/// Rows of text aligned in columns, as `discover` and `ls -l` print them.
struct TextTable {
    enum Alignment {
        case left
        case right
    }

    let alignments: [Alignment]
    private var rows: [[String]] = []

    init(_ alignments: [Alignment]) { self.alignments = alignments }

    /// Cells must be safe to show; a row with too few is filled up, one with too many cut.
    mutating func add(_ cells: [String]) {
        rows.append((0..<alignments.count).map { $0 < cells.count ? cells[$0] : "" })
    }

    /// The rows with two spaces between columns and nothing at the ends of lines.
    var text: String {
        let widths = alignments.indices.map { column in rows.map { DisplayWidth.of($0[column]) }.max() ?? 0 }
        var text = ""
        for row in rows {
            var line = ""
            for (column, cell) in row.enumerated() {
                let space = String(repeating: " ", count: widths[column] - DisplayWidth.of(cell))
                line += (column > 0 ? "  " : "") + (alignments[column] == .left ? cell + space : space + cell)
            }
            while line.last == " " { line.removeLast() }
            text += line + "\n"
        }
        return text
    }

    /// Names side by side, filled column by column as ls(1) does, in as few lines as `columns` of width allow.
    static func grid(_ names: [String], columns width: Int) -> String {
        guard !names.isEmpty else { return "" }
        let widths = names.map(DisplayWidth.of)
        for lineCount in 1..<max(2, names.count) {
            let columnCount = (names.count + lineCount - 1) / lineCount
            let columnWidths = (0..<columnCount).map { column in
                widths[(column * lineCount)..<min(names.count, (column + 1) * lineCount)].max() ?? 0
            }
            guard columnWidths.reduce(0, +) + 2 * (columnCount - 1) <= width else { continue }
            var text = ""
            for line in 0..<lineCount {
                let indices = stride(from: line, to: names.count, by: lineCount)
                var cells: [String] = []
                for (column, index) in indices.enumerated() {
                    let isLast = index + lineCount >= names.count
                    cells.append(isLast ? names[index] : DisplayWidth.pad(names[index], to: columnWidths[column]))
                }
                text += cells.joined(separator: "  ") + "\n"
            }
            return text
        }
        return names.map { $0 + "\n" }.joined()
    }
}
