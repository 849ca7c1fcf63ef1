seg migrate .
