// Messages as react-native-gifted-chat wants them, and back.
