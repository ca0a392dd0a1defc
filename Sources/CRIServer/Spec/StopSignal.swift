import CRIProtocol
import RuntimeModel

/// The signal that asks a container to end: the CRI's own numbering, an image's text, and the kernel's numbers.
enum StopSignal {
  static let term: UInt32 = 15
  static let kill: UInt32 = 9

  /// The kernel's number by name without SIG (signal(7), x86-64).
  private static let numbers: [String: UInt32] = [
    "HUP": 1, "INT": 2, "QUIT": 3, "ILL": 4, "TRAP": 5, "ABRT": 6, "IOT": 6, "BUS": 7, "FPE": 8, "KILL": 9, "USR1": 10,
    "SEGV": 11, "USR2": 12, "PIPE": 13, "ALRM": 14, "TERM": 15, "STKFLT": 16, "CHLD": 17, "CLD": 17, "CONT": 18,
    "STOP": 19, "TSTP": 20, "TTIN": 21, "TTOU": 22, "URG": 23, "XCPU": 24, "XFSZ": 25, "VTALRM": 26, "PROF": 27,
    "WINCH": 28, "IO": 29, "POLL": 29, "PWR": 30, "SYS": 31,
  ]

  /// The CRI's number by name: 1...34 in its own alphabetical order, 35... the real-time signals.
  private static let criNames = [
    "ABRT", "ALRM", "BUS", "CHLD", "CLD", "CONT", "FPE", "HUP", "ILL", "INT", "IO", "IOT", "KILL", "PIPE", "POLL",
    "PROF", "PWR", "QUIT", "SEGV", "STKFLT", "STOP", "SYS", "TERM", "TRAP", "TSTP", "TTIN", "TTOU", "URG", "USR1",
    "USR2", "VTALRM", "WINCH", "XCPU", "XFSZ",
  ]

  /// - Returns: the request's signal, else the image's, else TERM; the kernel's number.
  /// - Throws: `invalidArgument` naming the field when the number or the name is none.
  static func resolve(_ requested: Runtime_V1_Signal, image: String) throws(RuntimeError) -> UInt32 {
    if requested.rawValue != 0 {
      guard let number = kernelNumber(cri: requested.rawValue) else {
        throw RuntimeError(.invalidArgument, "stop_signal: \(requested.rawValue) is not a signal")
      }
      return number
    }
    guard !image.isEmpty else { return term }
    guard let number = kernelNumber(text: image) else {
      throw RuntimeError(.invalidArgument, "image StopSignal: \"\(image)\" is not a signal")
    }
    return number
  }

  /// The CRI's number of a kernel signal, for Status.
  static func criSignal(kernel: UInt32) -> Runtime_V1_Signal {
    for value in 1...65 where kernelNumber(cri: value) == kernel {
      return Runtime_V1_Signal(rawValue: value) ?? .runtimeDefault
    }
    return .runtimeDefault
  }

  private static func kernelNumber(cri value: Int) -> UInt32? {
    switch value {
    case 1...34: numbers[criNames[value - 1]]
    case 35...50: UInt32(34 + value - 35)  // RTMIN...RTMIN+15
    case 51...65: UInt32(50 + value - 51)  // RTMAX-14...RTMAX
    default: nil
    }
  }

  private static func kernelNumber(text: String) -> UInt32? {
    if let number = UInt32(text) { return (1...64).contains(number) ? number : nil }
    let upper = text.uppercased()
    let name = upper.hasPrefix("SIG") ? String(upper.dropFirst(3)) : upper
    if let number = numbers[name] { return number }
    if name == "RTMIN" { return 34 }
    if name == "RTMAX" { return 64 }
    if name.hasPrefix("RTMIN+"), let offset = UInt32(name.dropFirst(6)), offset <= 15 { return 34 + offset }
    if name.hasPrefix("RTMAX-"), let offset = UInt32(name.dropFirst(6)), offset <= 14 { return 64 - offset }
    return nil
  }
}
