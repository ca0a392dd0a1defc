import FoundationEssentials

/// What a verbose answer carries in its `info` map: JSON with its keys in order, so that equal things read alike.
func verboseText(_ description: some Encodable) throws -> String {
  let encoder = JSONEncoder()
  encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
  return String(decoding: try encoder.encode(description), as: UTF8.self)
}
